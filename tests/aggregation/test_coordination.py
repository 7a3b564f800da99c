"""One training over a server's folder: what it leaves there, and that a fault at any step loses nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fedpersona.aggregation import coordination
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.scheduling import due
from fedpersona.aggregation.serials import Serials
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import CohortTooSmall, DevicesAbsent, DevicesLeft, ServerError, StateDamaged
from fedpersona.privacy.secagg import ServerRound
from tests.aggregation.people import CROWD, FIRST, PEOPLE, configured, coordinating, grid_of, honest, publish
from tests.conftest import invent
from tests.superlinks import put, store_at


@pytest.fixture(autouse=True)
def one_seed(monkeypatch):
    monkeypatch.setattr(coordination.secrets, "randbits", lambda bits: 42)


def counters(journal) -> dict[str, float]:
    return {counter.name + "".join(counter.labels.values()): counter.value for counter in journal.counters()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> str:
    """The hash of the model that a training learns in which nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordination.secrets, "randbits", lambda bits: 42)
        config, grid = configured(tmp_path_factory.mktemp("undisturbed") / "server"), grid_of()
        with coordinating(config, grid) as work:
            work.train(grid)
            return work.registry.promoted().hash


def test_a_training_leaves_a_promoted_model_its_rounds_and_their_numbers(tmp_path):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        version = work.registry.promoted()
        assert (version.number, version.hash) == (1, work.trainings.all()[0].shared_hash)
        assert work.trainings.current() is None
        assert work.journal.state().state == "idle"
        second, first = work.journal.rounds()
        assert (first.round_number, second.round_number) == (1, 2)
        assert {one.outcome for one in (first, second)} == {"completed"}
        assert {(one.invited, one.answered, one.dropped, one.late) for one in (first, second)} == {(12, 12, 0, 0)}
        assert first.serial < second.serial
        assert first.phase == "unmasking"
        assert list(first.seconds) == ["gathering", "entering", "sharing", "updating", "agreeing", "unmasking"]
        found = counters(work.journal)
        assert (found["roundscompleted"], found["invited"], found["replies"]) == (2, 24, 24)
        assert found["bytesup"] == first.bytes_up + second.bytes_up > 0
        assert work.journal.bell() == 2 * 5 + 1  # five questions a round, and the model


def test_refusals_are_counted_by_their_reason(tmp_path):
    def node(message, context):
        if context.node_id == FIRST:
            raise RuntimeError("a device that runs something else")
        return honest(message, context)

    config, grid = configured(tmp_path / "server"), grid_of(node)
    with coordinating(config, grid) as work:
        work.train(grid)
        assert [one.refused for one in work.journal.rounds()] == [{"gone": 1}] * 2
        assert counters(work.journal)["refusedgone"] == 2


def test_a_round_that_too_many_devices_left_is_held_again_with_a_new_serial(tmp_path, undisturbed):
    left = {FIRST + place for place in range(4)}

    def drop(node, message):
        return message.metadata.message_type == "train.update" and node in left and not left.discard(node)

    config, grid = configured(tmp_path / "server", rounds__min_count=8), grid_of(drop=drop)
    with coordinating(config, grid) as work:
        work.train(grid)
        rounds = work.journal.rounds()[::-1]
        assert [(one.round_number, one.attempt, one.outcome) for one in rounds] == [
            (1, 1, "devices left"),
            (1, 2, "completed"),
            (2, 1, "completed"),
        ]
        assert len({one.serial for one in rounds}) == 3
        assert work.registry.promoted().hash == undisturbed


def test_a_round_that_fails_as_often_as_allowed_waits_and_the_training_goes_on_later(tmp_path):
    gone = {FIRST + place for place in range(4)}

    def drop(node, message):
        return node in gone and message.metadata.message_type == "train.update"

    config = configured(tmp_path / "server", rounds__min_count=8, rounds__wait_for=PEOPLE)
    grid = grid_of(drop=drop)
    with coordinating(config, grid) as work:
        with pytest.raises(DevicesLeft):
            work.train(grid)
        assert work.journal.state().state == "waiting"
        assert [one.outcome for one in work.journal.rounds()] == ["devices left"] * 3
        assert work.registry.promoted() is None
        gone.clear()
        assert work.train(grid) == 1


def test_waiting_for_devices_ends_in_time_and_says_what_it_waits_for(tmp_path):
    config, grid = configured(tmp_path / "server", rounds__attempts=1), grid_of()
    with coordinating(config, grid) as work:
        for device in work.roster.devices()[:4]:
            work.roster.revoke(device.number)
        with pytest.raises(DevicesAbsent, match="8 devices are there, the round waits for 9"):
            work.train(grid)
        state = work.journal.state()
        assert state.state == "waiting"
        assert "round 1: 8 devices are there" in state.words
        assert work.journal.rounds() == []  # nobody was asked


def test_nothing_that_devices_sent_is_on_the_disk_once_an_attempt_ended_well_or_not(tmp_path):
    """Of every attempt, and of a coordinator that was killed, what Flower deleted and what nobody took."""
    gone = {FIRST + place for place in range(4)}
    config, attempts = configured(tmp_path / "server", rounds__min_count=8), []
    file = config.superlink().database

    def on_disk() -> bool:
        return any(b"of attempt" in one.read_bytes() for one in file.parent.glob("superlink.db*"))

    with store_at(file) as store:
        put(store, b"of attempt 0" * 1000)

        def node(message, context):
            if message.metadata.message_type == "query.enter" and context.node_id == FIRST + 5:
                assert not on_disk()
                attempts.append(len(attempts) + 1)
                put(store, b"of attempt %d" % attempts[-1] * 1000)
                store.delete(put(store, b"of attempt %d, taken" % attempts[-1] * 1000))
                assert on_disk()
            return honest(message, context)

        def drop(node, message):
            return message.metadata.message_type == "train.update" and node in gone and not gone.discard(node)

        grid = grid_of(node, drop=drop)
        with coordinating(config, grid) as work:
            work.train(grid)
            assert [one.outcome for one in work.journal.rounds()[::-1]] == ["devices left", "completed", "completed"]
        assert len(attempts) == 3
        assert not on_disk()


def test_an_erasure_that_fails_is_logged_and_tried_again_after_the_next_attempt(tmp_path, monkeypatch):
    config, grid, told = configured(tmp_path / "server"), grid_of(), []
    calls = []

    def failing(file):
        calls.append(file)
        if len(calls) < 3:
            raise ServerError("what devices sent could not be erased")

    monkeypatch.setattr(coordination, "erase_messages", failing)
    log = SimpleNamespace(info=lambda event, **said: told.append(event), error=lambda event, **said: told.append(event))
    with coordinating(config, grid, log=log) as work:
        work.train(grid)
    assert told == ["erasure.failed", "erasure.failed", "round.ended", "round.ended"]
    assert calls == [config.superlink().database] * 3


def test_a_late_answer_that_nobody_took_is_counted_when_it_is_erased(tmp_path, monkeypatch):
    config, grid = configured(tmp_path / "server"), grid_of()
    monkeypatch.setattr(coordination, "erase_messages", lambda file: 2)
    with coordinating(config, grid) as work:
        work.train(grid)
        assert [one.late for one in work.journal.rounds()] == [2, 2]


def test_no_share_and_no_key_of_a_device_stays_in_the_coordinators_memory(tmp_path):
    """After a training with an attempt that failed: what is left of its rounds is empty."""
    gone = {FIRST + place for place in range(4)}

    def drop(node, message):
        return message.metadata.message_type == "query.unmask" and node in gone and not gone.discard(node)

    config, grid = configured(tmp_path / "server", rounds__min_count=8), grid_of(drop=drop)
    rounds: list[ServerRound] = []
    begin = ServerRound.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerRound, "__init__", lambda self, *a, **k: rounds.append(self) or begin(self, *a, **k))
        with coordinating(config, grid) as work:
            work.train(grid)
            assert [one.outcome for one in work.journal.rounds()[::-1]] == ["devices left", "completed", "completed"]
    assert len(rounds) == 3
    for one in rounds:
        assert not any((one._sealed, one._shares, one._commitments, one._signed))


STEPS = [
    (Trainings, "begin"),
    (Trainings, "checkpoint"),
    (Trainings, "resume"),
    (Trainings, "answered"),
    (Trainings, "finish"),
    (Registry, "register"),
    (Registry, "promote"),
    (Registry, "prune"),
    (Journal, "begin"),
    (Journal, "phase"),
    (Journal, "end"),
    (Journal, "ring"),
    (Journal, "say"),
    (Serials, "next"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[f"{owner.__name__}.{name}" for owner, name in STEPS])
def test_an_error_at_any_step_loses_nothing_and_no_serial_is_used_twice(
    owner, name, after, tmp_path, monkeypatch, undisturbed
):
    """Fails the step at its first call, its second, …, until a training comes through: the model is the same."""
    config, grid = configured(tmp_path / "server", rounds__attempts=1), grid_of()
    inner, at, calls = getattr(owner, name), 1, 0
    serials: list[int] = []
    give = Serials.next

    def failing(self, *arguments, **settings):
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise ServerError("a fault")
        found = inner(self, *arguments, **settings)
        if calls == at:
            raise ServerError("a fault")
        return found

    monkeypatch.setattr(owner, name, failing)
    if name != "next":
        monkeypatch.setattr(Serials, "next", lambda self: serials.append(give(self)) or serials[-1])
    with coordinating(config, grid) as work:
        while at < 4:
            calls = 0
            try:
                work.train(grid)
                break
            except ServerError:
                at += 1
        at = 0
        if work.registry.promoted() is None or work.trainings.current() is not None:
            work.train(grid)
        assert work.trainings.current() is None
        assert len(set(serials)) == len(serials)
        rounds = [one.round_number for one in work.journal.rounds() if one.outcome == "completed"]
        assert work.registry.promoted().hash == undisturbed
        assert set(rounds) <= {1, 2}


@pytest.mark.parametrize("change", ["catalogue", "setting"])
def test_another_catalogue_or_setting_abandons_the_training_and_says_so(change, tmp_path):
    gone = {FIRST + place for place in range(5)}
    config, grid = configured(tmp_path / "server"), grid_of(drop=lambda node, message: node in gone)
    with coordinating(config, grid) as work, pytest.raises(CohortTooSmall):
        work.train(grid)
    other = config
    if change == "setting":
        settings = {**config.model.settings, "dim": 5}
        other = config.model_copy(update={"model": config.model.model_copy(update={"settings": settings})})
    else:
        publish(config, invent(PEOPLE, 41).catalogue)
    with coordinating(other, grid) as work:
        with pytest.raises(CohortTooSmall):  # simulated devices have the old one
            work.train(grid)
        newest, oldest = work.trainings.all()
        assert oldest.outcome == "abandoned"
        assert newest.outcome is None
        assert "model or catalogue" in work.journal.events()[0].words


def test_a_change_of_the_catalogue_in_the_middle_of_a_run_does_not_reach_the_run(tmp_path):
    """A run has read its catalogue; devices refuse a plan of another, and the next run begins anew with it."""
    config, grid = configured(tmp_path / "server"), grid_of()
    grid.drop = lambda node, message: publish(config, invent(PEOPLE, 41).catalogue)
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        assert work.trainings.all()[0].catalogue == CROWD.catalogue.version


def test_a_damaged_checkpoint_is_named_and_nothing_is_trained_from_it(tmp_path):
    gone = {FIRST + place for place in range(5)}
    config, grid = configured(tmp_path / "server"), grid_of(drop=lambda node, message: node in gone)
    with coordinating(config, grid) as work:
        with pytest.raises(CohortTooSmall):
            work.train(grid)
        (file,) = [path for path in config.models.rglob("*") if path.is_file()]
        file.write_bytes(file.read_bytes()[:-1])
        gone.clear()
        with pytest.raises(StateDamaged):
            work.train(grid)
        assert work.registry.promoted() is None


def test_a_one_shot_federation_rests_after_its_training_and_a_standing_one_learns_again(tmp_path):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        done, devices = work.trainings.history(), work.roster.fleet(work.trainings.history())
        later = done.finished_at + 8 * 86_400.0
        assert not due(config, later, done, devices)
        standing = config.schedule.model_copy(update={"kind": "standing"})
        assert due(config.model_copy(update={"schedule": standing}), later, done, devices)
        assert work.train(grid) == 2
        assert len(work.trainings.all()) == 2


def test_every_run_has_its_own_seed_unless_a_test_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.undo()
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        assert [work.train(grid), work.train(grid)] == [1, 2]
        assert len({one.seed for one in work.trainings.all()}) == 2


def test_a_plan_is_stamped_with_its_federation_and_an_end(tmp_path):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid, clock=lambda: 1_000_000.0) as work:
        plan = work._stamped(replace(_a_plan(), serial=0))
        assert (plan.federation, plan.issued) == (config.federation.name, 1_000_000)
        assert plan.expires == 1_000_000 + 61  # 0.2 + 5 * 0.3 seconds, and a minute


def _a_plan():
    from tests.device.servers import plan

    return plan()
