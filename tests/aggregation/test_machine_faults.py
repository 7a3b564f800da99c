"""The server's machine: a full disk at every write, clocks that are a day off. Each is named, and nothing is lost."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from fedpersona.aggregation import coordination
from fedpersona.errors import DiskFull
from tests.aggregation.people import configured, coordinating, grid_of

DAY = 86_400.0


@pytest.fixture(autouse=True)
def one_seed(monkeypatch):
    monkeypatch.setattr(coordination.secrets, "randbits", lambda bits: 42)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> str:
    config, grid = configured(tmp_path_factory.mktemp("undisturbed") / "server"), grid_of()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordination.secrets, "randbits", lambda bits: 42)
        with coordinating(config, grid) as work:
            work.train(grid)
            return work.registry.promoted().hash


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_disk_that_is_full_at_any_file_is_named_and_the_training_goes_on_once_there_is_room(
    place, tmp_path, monkeypatch, undisturbed
):
    """At the first write, the second, …, until a whole training fits."""
    config, grid = configured(tmp_path / "server"), grid_of()
    owner = os if place == "fsync" else Path
    inner, at, calls = getattr(owner, place), 0, 0

    def nearly_full(*arguments, **settings):
        nonlocal calls
        calls += 1
        return full() if calls == at else inner(*arguments, **settings)

    with coordinating(config, grid) as work:
        monkeypatch.setattr(owner, place, nearly_full)
        failures = 0
        while work.registry.promoted() is None or work.trainings.current() is not None:
            calls, at = 0, at + 1
            try:
                work.train(grid)
            except DiskFull:
                failures += 1
        monkeypatch.undo()
        assert failures >= 2
        assert work.registry.promoted().hash == undisturbed
        assert not [file for file in config.models.rglob("*") if file.name.endswith((".tmp", ".part", ".new"))]


def test_a_round_whose_model_cannot_be_kept_is_counted_as_failed(tmp_path, monkeypatch, undisturbed):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        with monkeypatch.context() as patch:
            kept = work.trainings.checkpoint
            patch.setattr(work.trainings, "checkpoint", lambda *said: full() if said[1].round_number else kept(*said))
            with pytest.raises(OSError, match="No space"):
                work.train(grid)
        assert [one.outcome for one in work.journal.rounds()] == ["failed"]
        work.train(grid)
        assert work.registry.promoted().hash == undisturbed


def test_a_database_that_cannot_grow_is_named_and_what_was_there_stays(tmp_path, undisturbed):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        database = work.journal._database
        with database.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(DiskFull):
            work.journal.event("a note", "x" * 1_000_000)
        with database.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")
        work.train(grid)
        assert work.registry.promoted().hash == undisturbed


@pytest.mark.parametrize("leap", [-DAY, DAY], ids=["a day behind", "a day ahead"])
def test_a_server_whose_clock_was_wrong_for_one_training_goes_on_when_it_is_right_again(leap, tmp_path, undisturbed):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid, clock=lambda: time.time() + leap) as work:
        work.train(grid)
        first = max(one.serial for one in work.journal.rounds())
    with coordinating(config, grid) as work:
        assert work.train(grid) == 2
        assert min(one.serial for one in work.journal.rounds(2)) > first
        assert work.registry.promoted().hash == undisturbed


def test_a_clock_that_is_set_while_a_round_waits_ends_no_wait_early(tmp_path, monkeypatch):
    """Deadlines are measured by a clock that nobody sets."""
    config, grid = configured(tmp_path / "server"), grid_of()
    leaps = iter(range(10_000))
    with coordinating(config, grid, clock=lambda: 1e9 + DAY * next(leaps)) as work:
        work.train(grid)
        assert {one.outcome for one in work.journal.rounds()} == {"completed"}
