"""The budget's account: what is spent stays spent, and no other file passes for it."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpersona.aggregation import budget_file
from fedpersona.aggregation.budget import balance_of
from fedpersona.aggregation.budget_entries import Changed, Opened, Spent, read_entry, signed_entry
from fedpersona.aggregation.budget_file import Mark, held_file
from fedpersona.aggregation.budget_witness import halt, halted_at, remember, remembered
from fedpersona.aggregation.registry import Registry
from fedpersona.errors import (
    BudgetDamaged,
    BudgetSpent,
    ConfigError,
    DiskFull,
    OutputError,
    ServerError,
    ServerRunning,
)
from fedpersona.privacy.gaussian import gaussian_epsilon
from fedpersona.taste.popularity import Popularity
from tests.aggregation.budgets import DELTA, KEY, OTHER, Kept, plan
from tests.conftest import invent


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(tmp_path / "state")


def exact(*multipliers: float) -> float:
    return gaussian_epsilon(math.hypot(*(1 / z for z in multipliers)), DELTA)


# -- spending --


def test_what_is_spent_adds_up_exactly_over_restarts_and_trainings(kept):
    kept.spend(1, 2, multiplier=5.0)
    with kept.open() as budget:
        budget.spend(plan(3, multiplier=7.0), 2)
        balance = budget.balance
    assert exact(5.0, 5.0, 7.0) <= balance.epsilon <= exact(5.0, 5.0, 7.0) * (1 + 1e-4)
    assert balance.releases == 3
    assert kept.read() == balance


def test_a_separation_counts_the_rounds_of_a_training_that_one_device_can_be_in_and_all_trainings(kept):
    with kept.open() as budget:
        for number in (1, 2, 3):
            budget.spend(plan(number, number=number, separation=2), 1)
        budget.spend(plan(4, number=1, separation=2), 2)
        assert budget.balance.epsilon == pytest.approx(exact(5.0, 5.0, 5.0), rel=1e-4)  # 1 and 3 of the first


def test_two_attempts_at_one_round_both_count(kept):
    with kept.open() as budget:
        budget.spend(plan(1, number=1, separation=9), 1)
        budget.spend(plan(2, number=1, separation=9), 1)
        assert budget.balance.epsilon == pytest.approx(exact(5.0, 5.0), rel=1e-4)


def test_the_same_plan_again_costs_nothing_more_and_another_of_its_serial_is_refused(kept):
    kept.spend(1)
    before = kept.file.read_bytes()
    with kept.open() as budget:
        budget.spend(plan(1), 1)
        for changes in ({"multiplier": 50.0}, {"seed_": 2}, {"multiplier": 4.0}):
            other = plan(1, multiplier=changes.get("multiplier", 5.0), run="another" if "seed_" in changes else "")
            with pytest.raises(BudgetDamaged, match="serial number 1 was paid for"):
                budget.spend(other, 1)
    assert kept.file.read_bytes() == before


def test_a_sum_that_would_pass_the_limit_is_refused_and_nothing_is_written(kept):
    kept.spend(1, multiplier=0.8)
    before = kept.file.read_bytes()
    with kept.open() as budget:
        with pytest.raises(BudgetSpent, match=r"the privacy budget is spent: epsilon [\d.]+ of 8 \(delta 1e-05\)"):
            budget.spend(plan(2, multiplier=0.8), 1)
        with pytest.raises(BudgetSpent, match="round 2"):
            budget.check(1, {2: 0.8}, 1, "round 2")
        assert budget.check(1, {2: 3.0}, 1, "round 2") == pytest.approx(exact(0.8, 3.0), rel=1e-4)
    assert kept.file.read_bytes() == before


def test_the_limit_is_never_passed_by_any_row_of_spends(kept):
    """Spends as long as it can, and holds the sum against the exact count."""
    done: list[float] = []
    with kept.open() as budget:
        for serial in range(1, 200):
            multiplier = (2.0, 3.5, 9.0)[serial % 3]
            try:
                budget.spend(plan(serial, number=serial, multiplier=multiplier), 1)
            except BudgetSpent:
                assert exact(*done, multiplier) > 8.0 * (1 - 1e-4)
                break
            done.append(multiplier)
    assert exact(*done) <= 8.0


@pytest.mark.parametrize("multiplier", [0.0, -5.0, math.inf, math.nan, 1e300, 1e-300])
def test_a_spend_that_costs_nothing_less_than_nothing_or_no_number_cannot_be_written_or_read(multiplier):
    said = {"serial": 1, "plan": "a" * 64, "training": 1, "round": 1, "noise": "central", "clip": 1.0}
    with pytest.raises(ConfigError, match="multiplier"):
        Spent(**said, multiplier=multiplier, separation=1, epsilon=1.0)
    entry = signed_entry(
        Spent(**said, multiplier=1.0, separation=1, epsilon=1.0), KEY, number=2, at=1, account="a", previous="b"
    )
    fields = json.loads(entry.line) | {"multiplier": multiplier}
    fields.pop("signature")
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    signed = json.dumps({**fields, "signature": KEY.sign(body).hex()}, sort_keys=True, separators=(",", ":"))
    with pytest.raises(ValueError, match=r"entry|cannot be|signed"):
        read_entry(signed.encode() + b"\n", KEY.public_key().public_bytes_raw())


def test_a_plan_without_noise_is_paid_for_by_no_budget(kept):
    with kept.open() as budget:
        with pytest.raises(BudgetSpent, match="no noise"):
            budget.spend(plan(1, multiplier=None), 1)
        assert budget.balance.releases == 0


def test_a_plan_of_another_delta_is_refused(kept):
    with kept.open() as budget, pytest.raises(ConfigError, match="delta"):
        budget.spend(plan(1, delta=1e-3), 1)


def test_a_clock_that_goes_back_changes_no_order_and_no_amount(kept):
    times = iter([2_000_000_000.0, 5.0, 1_000_000_000.0, 0.0])
    with kept.open(clock=lambda: next(times)) as budget:
        for serial in (1, 2, 3):
            budget.spend(plan(serial, number=serial), 1)
    balance = kept.read()
    assert [entry.at for entry in balance.entries] == [2_000_000_000, 5, 1_000_000_000, 0]
    assert balance.epsilon == pytest.approx(exact(5.0, 5.0, 5.0), rel=1e-4)


# -- the limit --


def test_a_limit_is_changed_with_a_reason_and_what_was_spent_stays(kept):
    kept.spend(1)
    spent = kept.read().epsilon
    with kept.open() as budget:
        budget.set_limit(12.0, " more people joined ")
        budget.set_limit(0.1, "we thought again")
        with pytest.raises(BudgetSpent, match=r"of 0\.1"):
            budget.spend(plan(2, number=2), 1)
        with pytest.raises(ConfigError, match="already"):
            budget.set_limit(0.1, "the same")
    balance = kept.read()
    assert [(said.before, said.limit, said.reason) for _, said in balance.changes] == [
        (8.0, 12.0, "more people joined"),
        (12.0, 0.1, "we thought again"),
    ]
    assert (balance.limit, balance.epsilon, balance.left) == (0.1, spent, 0.0)


@pytest.mark.parametrize("limit", [0.0, -1.0, 1001.0, 1e9, 1e308, math.inf, math.nan])
def test_what_is_no_limit_is_refused(kept, limit):
    with kept.open() as budget, pytest.raises(ConfigError, match="a limit is"):
        budget.set_limit(limit, "because")


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[2J", "x" * 501])
def test_a_change_without_a_reason_that_people_can_read_is_refused(kept, reason):
    with kept.open() as budget, pytest.raises(ConfigError, match="reason"):
        budget.set_limit(9.0, reason)


def test_a_limit_that_somebody_without_the_key_raised_is_damage(kept):
    kept.spend(1)
    last = kept.read().entries[-1]
    forged = signed_entry(Changed(8.0, 80.0, "mine"), OTHER, number=3, at=1, account=last.account, previous=last.hash)
    kept.file.write_bytes(kept.file.read_bytes() + forged.line)
    with pytest.raises(BudgetDamaged, match="entry 3 was changed, or another key"):
        kept.read()
    with pytest.raises(BudgetDamaged), kept.open():
        pass
    with pytest.raises(BudgetDamaged, match="entry 1 was changed, or another key"), kept.open(OTHER):
        pass  # nor does the whole account become another key's


# -- other files than the one that was written --


def test_a_deleted_account_is_not_begun_anew(kept):
    kept.spend(1)
    kept.file.unlink()
    for look in (kept.read, lambda: kept.spend(2)):
        with pytest.raises(BudgetDamaged, match="is missing, and this server has spent by it"):
            look()
    assert not kept.file.exists()
    kept.file.touch()
    with pytest.raises(BudgetDamaged, match="ends at entry 0"):
        kept.spend(2)


def test_an_older_copy_is_refused(kept, tmp_path):
    kept.spend(1)
    shutil.copy(kept.file, tmp_path / "copy")
    kept.spend(2)
    shutil.copy(tmp_path / "copy", kept.file)
    before = kept.file.read_bytes()
    for look in (kept.read, lambda: kept.spend(3)):
        with pytest.raises(BudgetDamaged, match="ends at entry 2, and 3 were written"):
            look()
    assert kept.file.read_bytes() == before


def test_an_older_copy_that_went_on_by_itself_is_refused(kept, tmp_path):
    """Somebody with the key spent from a copy elsewhere: as long, signed, in order, and not what was written here."""
    kept.spend(1)
    elsewhere = Kept(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    shutil.copy(kept.file, elsewhere.file)
    kept.spend(2)
    elsewhere.spend(3, 4)
    shutil.copy(elsewhere.file, kept.file)
    with pytest.raises(BudgetDamaged, match="entry 3 is not the one that was written"):
        kept.read()


def test_the_account_of_another_budget_is_refused(kept, tmp_path):
    kept.spend(1)
    other = Kept(tmp_path / "other")
    other.spend(1, 2, 3)
    shutil.copy(other.file, kept.file)
    with pytest.raises(BudgetDamaged, match="another budget"):
        kept.spend(4)


def test_a_model_remembers_the_account_where_the_row_is_gone(kept):
    kept.spend(1, 2)
    model, catalogue = Popularity(), invent(12).catalogue
    with kept.database() as database:
        last = kept.read().mark
        registry = Registry(database, kept.folder / "models")
        told = {"budget": {"account": last.account, "number": last.number, "head": last.head}}
        registry.register(model.init(catalogue, 1), model.model_dump(), told, 1)
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM budget")
        assert remembered(database) == [last]
    kept.file.write_bytes(b"".join(kept.lines[:2]))
    with pytest.raises(BudgetDamaged, match="ends at entry 2, and 3 were written"):
        kept.read()


def test_what_is_remembered_never_goes_back(kept):
    kept.spend(1, 2)
    with kept.database() as database:
        (mark,) = remembered(database)
        for other in (Mark(mark.account, 2, "0" * 64), Mark("another", 9, "0" * 64)):
            with pytest.raises(BudgetDamaged):
                remember(database, other)
        assert remembered(database) == [mark]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_edit_of_what_was_written_is_noticed(tmp_path_factory, data):
    """Bytes changed, lines removed, doubled, swapped; amounts lowered: nothing passes."""
    kept = _example(tmp_path_factory)
    whole = kept.lines
    kind = data.draw(st.sampled_from(["byte", "remove", "double", "swap", "amount"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    lines = list(whole)
    if kind == "byte":
        at = data.draw(st.integers(0, len(lines[place]) - 2))
        changed = bytearray(lines[place])
        changed[at] ^= data.draw(st.integers(1, 255))
        lines[place] = bytes(changed)
    elif kind == "remove":
        del lines[place]
    elif kind == "double":
        lines.insert(place, lines[place])
    elif kind == "swap":
        lines[place], lines[place - 1] = lines[place - 1], lines[place]
    else:
        fields = json.loads(lines[place])
        name = data.draw(st.sampled_from([name for name in fields if isinstance(fields[name], int | float)]))
        fields[name] = fields[name] * 2
        lines[place] = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    if lines == whole:
        return
    with kept.database() as database:
        marks = remembered(database)
    kept.file.write_bytes(b"".join(lines))
    try:
        with pytest.raises(BudgetDamaged):
            budget_file.read_file(kept.file, KEY.public_key().public_bytes_raw(), marks)
    finally:
        kept.file.write_bytes(b"".join(whole))


def _example(factory, made: list[Kept] = []) -> Kept:  # noqa: B006 - one for all examples
    if not made:
        kept = Kept(factory.mktemp("budget"))
        kept.spend(1, 2)
        with kept.open() as budget:
            budget.set_limit(9.0, "because")
        made.append(kept)
    return made[0]


def test_what_is_nested_or_long_or_no_json_is_damage_and_not_a_crash(kept):
    kept.spend(1)
    whole = kept.file.read_bytes()
    for line in (b"[" * 200_000, b"{}", b'{"number": NaN}', b"\xff\xfe", b"null", b'{"a":1,"a":2}', b""):
        kept.file.write_bytes(whole + line + b"\n")
        with pytest.raises(BudgetDamaged, match="entry 3"):
            kept.read()


# -- a line without an end --


@pytest.mark.parametrize("cut", [1, 20, 400])
def test_an_append_that_was_cut_off_is_removed_and_the_account_goes_on(kept, cut):
    kept.spend(1)
    whole = kept.file.read_bytes()
    entry = _next(kept)
    kept.file.write_bytes(whole + entry.line[:-cut] if cut > 1 else whole + entry.line[:-2])
    assert kept.read().releases == 1
    assert kept.file.read_bytes() != whole  # whoever only reads mends nothing
    kept.spend(2)
    assert kept.file.read_bytes().startswith(whole)
    assert [entry.said.serial for entry in kept.read().entries[1:]] == [1, 2]


def test_an_append_that_lacks_its_line_feed_only_counts(kept):
    kept.spend(1)
    whole, entry = kept.file.read_bytes(), _next(kept)
    kept.file.write_bytes(whole + entry.line[:-1])
    assert kept.read().releases == 2
    with kept.open() as budget:
        assert budget.balance.releases == 2
    assert kept.file.read_bytes() == whole + entry.line
    with kept.database() as database:
        assert remembered(database) == [Mark.of(entry)]


def test_a_spend_that_was_remembered_is_not_taken_for_one_that_was_cut_off(kept):
    kept.spend(1, 2)
    kept.file.write_bytes(kept.file.read_bytes()[:-30])
    before = kept.file.read_bytes()
    with pytest.raises(BudgetDamaged, match="ends at entry 2, and 3 were written"):
        kept.spend(3)
    assert kept.file.read_bytes() == before


def test_zeros_at_the_end_after_a_power_cut_are_removed(kept):
    kept.spend(1)
    whole = kept.file.read_bytes()
    kept.file.write_bytes(whole + bytes(4096))
    kept.spend(2)
    assert kept.file.read_bytes().startswith(whole + b"{")


def _next(kept: Kept):
    last = kept.read().entries[-1]
    said = Spent(2, plan(2, number=2).hash(), 1, 2, "central", 5.0, 1.0, 1, 2.0)
    return signed_entry(said, KEY, number=3, at=1, account=last.account, previous=last.hash)


# -- faults of the machine --


@pytest.mark.parametrize("room", [0, 1, 100, 400])
def test_a_full_disk_releases_nothing_and_leaves_the_account_as_it_was(kept, monkeypatch, room):
    kept.spend(1)
    whole, write = kept.file.read_bytes(), os.pwrite

    def full(handle, data, place):
        if place + len(data) > len(whole) + room:
            data = data[: max(0, len(whole) + room - place)]
            if not data:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data, place)

    with kept.open() as budget:
        monkeypatch.setattr(budget_file.os, "pwrite", full)
        with pytest.raises(DiskFull, match="nothing was released"):
            budget.spend(plan(2, number=2), 1)
        assert kept.file.read_bytes() == whole
        monkeypatch.undo()
        budget.spend(plan(2, number=2), 1)  # there is room again
    assert kept.read().releases == 2


def test_where_the_disk_does_not_take_it_in_the_spend_may_only_count_too_much(kept, monkeypatch):
    """fsync fails: nobody knows what is there. Nothing more is added from this process, and the next sees what is."""
    kept.spend(1)

    def fails(handle):
        raise OSError(errno.EIO, "Input/output error")

    with kept.open() as budget:
        with monkeypatch.context() as patch:
            patch.setattr(budget_file.os, "fsync", fails)
            with pytest.raises(OutputError, match="Input/output error"):
                budget.spend(plan(2, number=2), 1)
        with pytest.raises(OutputError, match="could not be written before"):
            budget.spend(plan(3, number=3), 1)
    assert kept.read().releases == 2
    kept.spend(2)  # the same plan: paid for already
    assert kept.read().releases == 2


def test_a_short_write_is_gone_on_with(kept, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(budget_file.os, "pwrite", lambda handle, data, place: write(handle, data[:7], place))
    kept.spend(1, 2)
    assert kept.read().releases == 2


def test_an_account_that_is_remembered_late_is_still_paid(kept, monkeypatch):
    """The database fails after the account was written: it is behind, and what follows is an extension of it."""
    kept.spend(1)

    def fails(*_):
        raise ServerError("the disk failed")

    with kept.open() as budget:
        with monkeypatch.context() as patch:
            patch.setattr("fedpersona.aggregation.budget.remember", fails)
            with pytest.raises(ServerError, match="the disk failed"):
                budget.spend(plan(2, number=2), 1)
        budget.spend(plan(2, number=2), 1)
    assert kept.read().releases == 2
    with kept.database() as database:
        assert [mark.number for mark in remembered(database)] == [3]


def test_the_file_is_for_its_owner_only(kept):
    kept.spend(1)
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600


# -- one process at a time --

HOLD = """
import sys, time
from pathlib import Path
from tests.aggregation.budgets import Kept
with Kept(Path(sys.argv[1])).open() as budget:
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(folder: Path) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_second_process_is_refused_by_whatever_path_it_comes_until_the_first_ends(kept, tmp_path):
    kept.spend(1)
    linked, folder = Kept(tmp_path / "linked"), Kept(tmp_path / "folder")
    linked.folder.mkdir()
    linked.file.symlink_to(kept.file)
    folder.folder.symlink_to(kept.folder)
    hard = Kept(tmp_path / "hard")
    hard.folder.mkdir()
    os.link(kept.file, hard.file)
    process = holding(kept.folder)
    try:
        for other in (kept, linked, folder, hard):
            with pytest.raises(ServerRunning, match="another process works with this budget"), other.open():
                pass
        assert kept.read().releases == 1  # reading needs no turn
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    kept.spend(2)  # the lock went with its holder
    assert kept.read().releases == 2


def test_a_second_server_on_one_account_cannot_spend_again_under_the_same_serial(kept, tmp_path):
    """Its serials begin anew, and a plan of another is not the one that was paid for."""
    kept.spend(1, 2)
    other = Kept(tmp_path / "other")
    other.folder.mkdir()
    other.file.symlink_to(kept.file)
    with other.open() as budget, pytest.raises(BudgetDamaged, match="serial number 2 was paid for"):
        budget.spend(plan(2, number=1, run="of the other server"), 1)


def test_a_file_that_was_replaced_while_it_was_locked_is_not_believed(kept, monkeypatch):
    kept.spend(1)
    lock = budget_file.fcntl.flock

    def replaced(handle, how):
        copy = kept.file.with_name("copy")
        shutil.copy(kept.file, copy)
        copy.replace(kept.file)
        return lock(handle, how)

    monkeypatch.setattr(budget_file.fcntl, "flock", replaced)
    with pytest.raises(ServerRunning, match="was replaced"), kept.open():
        pass


def test_a_halt_holds_until_the_account_or_the_terms_change(kept):
    kept.spend(1)
    with kept.database() as database:
        assert not halted_at(database, "terms")
        halt(database, "terms")
        assert halted_at(database, "terms")
        assert not halted_at(database, "other terms")
    with kept.open() as budget:
        budget.set_limit(9.0, "because")
    with kept.database() as database:
        assert not halted_at(database, "terms")


def test_what_is_left_is_what_a_further_training_may_cost(kept):
    kept.spend(1, multiplier=1.0)
    balance = kept.read()
    assert balance.epsilon < 8.0
    mu = math.sqrt(balance.square)
    left = balance.left
    from fedpersona.privacy.gaussian import gaussian_mu

    assert gaussian_epsilon(math.hypot(mu, gaussian_mu(left, DELTA)), DELTA) == pytest.approx(8.0, rel=1e-6)
    assert left > 8.0 - balance.epsilon
    assert balance_of(balance.entries[:1]).left == 8.0


def test_the_first_entry_opens_and_no_other_does(kept):
    kept.spend(1)
    last = kept.read().entries[-1]
    again = signed_entry(Opened("x", 80.0, DELTA, 0), KEY, number=3, at=1, account=last.account, previous=last.hash)
    kept.file.write_bytes(kept.file.read_bytes() + again.line)
    with pytest.raises(BudgetDamaged, match="entry 3 opens the account"):
        kept.read()
    with held_file(kept.folder / "new", KEY.public_key().public_bytes_raw()) as file:
        assert file.entries == []


@pytest.mark.parametrize("multiplier", [1e-3, 1e-6, 1e-150])
def test_hardly_any_noise_is_refused_without_counting_it_to_the_last_bit(kept, multiplier):
    """By loss distributions it would take all the memory there is."""
    with kept.open() as budget, pytest.raises(BudgetSpent, match="would bring it to"):
        budget.spend(plan(1, multiplier=multiplier), 1)
    assert len(kept.lines) == 1
