import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from fedpersona.aggregation.database import Database, trainings
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.scheduling import Devices, History
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import DiskFull, ServerError, StateDamaged
from fedpersona.taste.model import Shared
from tests.aggregation.kill_at_each_step import killed_at_each_step, run


def model(round_number, value=None):
    table = np.full((3, 2), round_number if value is None else value, np.float32)
    return Shared("popularity", "c" * 64, round_number, {"table": table})


def same(found, expected):
    return found.hash() == expected.hash() and np.array_equal(found["table"], expected["table"])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def kept(database, folder):
    return Trainings(database, folder, clock=lambda: 2_000_000_000.0)


def begun(kept):
    return kept.begin("popularity", {"recency": 0.5, "discount": None}, "c" * 64, 7)


def test_a_round_is_never_folded_in_twice_nor_left_out(kept):
    training = begun(kept)
    for number in (0, 1):
        kept.checkpoint(training, model(number), 5)
    for wrong in (model(1, value=9), model(0, value=9), model(0), model(3)):
        with pytest.raises(ServerError, match="does not follow"):
            kept.checkpoint(training, wrong, 5)
    assert same(kept.resume(training), model(1))
    kept.checkpoint(training, model(1), 5)
    kept.checkpoint(training, model(2), 5)
    assert same(kept.resume(training), model(2))


def test_a_file_that_was_changed_removed_or_swapped_is_not_resumed_from(kept, folder):
    training = begun(kept)
    kept.checkpoint(training, model(0), 0)
    (path,) = folder.glob("*.model")
    whole = path.read_bytes()
    for wrong in (b"", whole[:-1], whole[:-1] + b"\x01", b"\xff" * 100):
        path.write_bytes(wrong)
        with pytest.raises(StateDamaged, match="backup"):
            kept.resume(training)
    path.unlink()
    with pytest.raises(StateDamaged, match="missing"):
        kept.resume(training)


def test_a_full_disk_keeps_the_last_checkpoint(kept, folder, monkeypatch):
    training = begun(kept)
    kept.checkpoint(training, model(0), 0)

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DiskFull, match="Make room"):
            kept.checkpoint(training, model(1), 5)
    assert [path.suffix for path in folder.iterdir()] == [".model"]
    assert same(kept.resume(training), model(0))
    kept.checkpoint(training, model(1), 5)
    assert same(kept.resume(training), model(1))


def with_moments(round_number):
    return replace(model(round_number), kept={"table.first": np.full((3, 2), round_number + 1e-12)})


def test_what_a_server_keeps_with_a_model_is_there_after_a_restart(kept, database, folder):
    training = begun(kept)
    kept.checkpoint(training, model(0), 0)
    assert kept.resume(training).kept == {}
    for number in (1, 2, 3):
        kept.checkpoint(training, with_moments(number), 5)
    found = Trainings(database, folder).resume(training).kept
    assert list(found) == ["table.first"]
    assert found["table.first"].dtype == np.float64
    assert np.array_equal(found["table.first"], np.full((3, 2), 3 + 1e-12))


def test_what_is_kept_goes_with_its_model_and_is_no_model(kept, database, folder):
    training = begun(kept)
    for number in range(4):
        kept.checkpoint(training, with_moments(number), 5)
    Registry(database, folder).prune(keep=1)
    names = sorted(path.name for path in folder.iterdir())
    expected = [f"{model(number).hash()}{ending}" for number in (2, 3) for ending in (".kept", ".model")]
    assert names == sorted(expected)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole[:-8] + b"\xff" * 8]
)
def test_moments_that_were_changed_are_not_gone_on_with(kept, folder, damage):
    training = begun(kept)
    kept.checkpoint(training, with_moments(0), 0)
    (path,) = folder.glob("*.kept")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StateDamaged, match="not what was written"):
        kept.resume(training)


def test_there_is_one_training_at_a_time(kept, database):
    first = begun(kept)
    with pytest.raises(ServerError, match="training 1 has not ended"):
        begun(kept)
    row = {"model": "m", "settings": {}, "catalogue": "c", "seed": 1, "began_at": 1}
    with pytest.raises(IntegrityError), database.writing() as connection:
        connection.execute(trainings.insert().values(row))
    kept.abandon(first)
    assert begun(kept).id == 2


def test_what_has_ended_takes_no_more_rounds_and_does_not_change_its_end(kept):
    training = begun(kept)
    kept.finish(training)
    kept.finish(training)
    with pytest.raises(ServerError, match="has ended"):
        kept.checkpoint(training, model(0), 0)
    with pytest.raises(ServerError, match="finished"):
        kept.abandon(training)
    assert kept.current() is None


def test_a_training_is_read_as_it_was_begun_also_by_another_process(kept, database, folder):
    assert kept.current() is None
    training = begun(kept)
    assert kept.resume(training) is None
    assert (training.round_number, training.shared_hash, training.answered) == (None, None, 0)
    for number, answered in ((0, 0), (1, 9), (2, 7)):
        kept.checkpoint(training, model(number), answered)
    with Database(database.path) as other:
        found = Trainings(other, folder).current()
        assert Trainings(other, folder).answered(found) == [9, 7]
    assert (found.model, found.catalogue, found.seed) == ("popularity", "c" * 64, 7)
    assert found.settings == {"recency": 0.5, "discount": None}
    assert (found.round_number, found.shared_hash, found.answered) == (2, model(2).hash(), 9)


def test_models_are_for_their_owner_only(kept, folder):
    kept.checkpoint(begun(kept), model(0), 0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_the_history_for_the_schedule_counts_what_finished_only(kept):
    assert kept.history() == History(False, 0, None)
    kept.abandon(begun(kept))
    assert kept.history(2, 5.0) == History(False, 0, None, 2, 5.0)
    training = begun(kept)
    assert kept.history() == History(True, 0, None)
    kept.finish(training)
    assert kept.history() == History(False, 1, 2_000_000_000)
    assert [one.outcome for one in kept.all()] == ["finished", "abandoned"]


def test_a_clock_that_was_wrong_once_does_not_train_for_ever(database, folder):
    now = [2_500_000_000.0]
    kept, roster = Trainings(database, folder, clock=lambda: now[0]), Roster(database, clock=lambda: now[0])
    for number in range(3):
        roster.enrol(roster.issue_token(1), b"key %d" % number, bytes([number]) * 32)
    kept.finish(begun(kept))
    now[0] = 2_000_000_000.0
    kept.finish(begun(kept))
    assert kept.history().finished_at == now[0]
    assert roster.fleet(kept.history()) == Devices(3, 0)
    roster.enrol(roster.issue_token(1), b"key", b"k" * 32)
    assert roster.fleet(kept.history()) == Devices(4, 1)
    roster.revoke(4)
    assert roster.fleet(kept.history()) == Devices(3, 0)
    assert roster.fleet(History(False, 0, None)) == Devices(3, 3)


def prepare(folder):
    with Database(folder / "fedpersona.db") as database:
        kept = Trainings(database, folder / "models")
        kept.checkpoint(begun(kept), model(0), 0)


def act(folder):
    with Database(folder / "fedpersona.db") as database:
        kept = Trainings(database, folder / "models")
        kept.checkpoint(kept.current(), model(1), 5)


def look(folder):
    """Return the round that a restart goes on from, and check that it can go on to the end."""
    with Database(folder / "fedpersona.db") as database:
        kept = Trainings(database, folder / "models")
        training = kept.current()
        shared = kept.resume(training)
        whole = training.shared_hash == shared.hash() == model(shared.round_number).hash()
        for number in range(shared.round_number + 1, 3):
            kept.checkpoint(training, model(number), 5)
        registry = Registry(database, folder / "models")
        fetched = registry.packed(model(2).hash()) is not None
        return {"round": shared.round_number, "whole": whole, "on": fetched and same(kept.resume(training), model(2))}


def test_a_kill_between_any_two_steps_leaves_the_last_completed_round_whole(tmp_path):
    found = killed_at_each_step(Path(__file__), tmp_path)
    assert all(one["whole"] and one["on"] for one in found)
    assert [one["killed"] for one in found] == [True] * (len(found) - 1) + [False]
    rounds = [one["round"] for one in found]
    assert rounds == sorted(rounds)
    assert (rounds[0], rounds[-1]) == (0, 1)
    assert len(found) > 10


if __name__ == "__main__":
    sys.exit(run(prepare, act, look))
