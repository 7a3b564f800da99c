"""One training over a server's folder: what it leaves there, and that a fault at any step loses nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedpersona.aggregation import coordination
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.scheduling import due
from fedpersona.aggregation.serials import Serials
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import CohortTooSmall, DevicesAbsent, DevicesLeft, ServerError, StateDamaged
from tests.aggregation.people import CROWD, FIRST, PEOPLE, configured, coordinating, grid_of, honest, publish
from tests.conftest import invent


@pytest.fixture(autouse=True)
def one_seed(monkeypatch):
    monkeypatch.setattr(coordination.secrets, "randbits", lambda bits: 42)


def counters(journal) -> dict[str, float]:
    return {counter.name + "".join(counter.labels.values()): counter.value for counter in journal.counters()}


def learned(folder, **changes) -> str:
    """Return the hash of the model that an undisturbed training learns."""
    config, grid = configured(folder, **changes), grid_of()
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
        assert first.phase == "updating"
        assert set(first.seconds) == {"gathering", "entering", "updating"}
        found = counters(work.journal)
        assert (found["roundscompleted"], found["invited"], found["replies"]) == (2, 24, 24)
        assert found["bytesup"] == first.bytes_up + second.bytes_up > 0
        assert work.journal.bell() >= 5  # two questions a round, and the model


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


def test_a_round_that_a_device_left_is_held_again_with_a_new_serial(tmp_path):
    left = {FIRST}

    def drop(node, message):
        return message.metadata.message_type == "train.update" and node in left and not left.discard(node)

    config, grid = configured(tmp_path / "server"), grid_of(drop=drop)
    with coordinating(config, grid) as work:
        work.train(grid)
        rounds = work.journal.rounds()[::-1]
        assert [(one.round_number, one.attempt, one.outcome) for one in rounds] == [
            (1, 1, "devices left"),
            (1, 2, "completed"),
            (2, 1, "completed"),
        ]
        assert len({one.serial for one in rounds}) == 3
        assert work.registry.promoted().hash == learned(tmp_path / "other")


def test_a_round_that_fails_as_often_as_allowed_waits_and_the_training_goes_on_later(tmp_path):
    gone = {FIRST}

    def drop(node, message):
        return node in gone and message.metadata.message_type == "train.update"

    config = configured(tmp_path / "server", rounds__min_count=PEOPLE, rounds__wait_for=PEOPLE)
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
def test_an_error_at_any_step_loses_nothing_and_no_serial_is_used_twice(owner, name, after, tmp_path, monkeypatch):
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
        assert work.registry.promoted().hash == learned(tmp_path / "other")
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
        assert plan.expires == 1_000_000 + 60  # 0.2 + 2 * 0.3 seconds, and a minute


def _a_plan():
    from tests.device.servers import plan

    return plan()
