"""A training under a budget: its noise, its spends, and that it stops by itself when the budget is spent."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from fedpersona.aggregation import scheduling
from fedpersona.aggregation.budget import Budget, read_balance
from fedpersona.aggregation.budget_entries import Spent
from fedpersona.aggregation.budget_witness import halted_at
from fedpersona.aggregation.certificates import operator_public, signing_key
from fedpersona.aggregation.config import ModelConfig, PrivacyConfig, ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.schedule_loop import ScheduleLoop
from fedpersona.aggregation.spending import check_budget, halt_terms, held_budget
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import (
    BudgetDamaged,
    BudgetSpent,
    CohortTooSmall,
    ConfigError,
    DevicesLeft,
    ServerError,
    ServerRunning,
)
from fedpersona.privacy.gaussian import composed, gaussian_epsilon
from tests.aggregation.budgets import plan
from tests.aggregation.people import FIRST, PEOPLE, configured, coordinating, grid_of

DELTA = 1e-5
LEAVE = {FIRST + place for place in range(5)}


def budgeted(folder, model: str = "ease", *, epsilon: float = 8.0, rounds=None, **privacy: object) -> ServerConfig:
    """Configure a server with a budget; EASE takes two rounds, popularity one."""
    config = configured(folder, **(rounds or {}))
    return changed(
        config,
        model=ModelConfig(name=model, catalogue=config.model.catalogue),
        privacy=PrivacyConfig(epsilon=epsilon, delta=DELTA, **privacy),
    )


def changed(config: ServerConfig, **sections: object) -> ServerConfig:
    return config.model_copy(update=sections)


def balance(config: ServerConfig):
    with Database(config.database) as database:
        return read_balance(config.budget, database, operator_public(config.server.signing_key))


def spends(config: ServerConfig) -> list[Spent]:
    return [entry.said for entry in balance(config).entries if isinstance(entry.said, Spent)]


@contextmanager
def failing(monkeypatch, name: str, at: int):
    """Let a step of the trainings fail once, at its n-th call."""
    inner, calls = getattr(Trainings, name), 0

    def fails(self, *arguments, **said):
        nonlocal calls
        calls += 1
        if calls == at:
            raise ServerError("a fault")
        return inner(self, *arguments, **said)

    with monkeypatch.context() as patch:
        patch.setattr(Trainings, name, fails)
        yield


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_a_training_costs_what_was_asked_for_and_tells_devices_so(tmp_path, noise):
    config, grid = budgeted(tmp_path / "server", noise=noise), grid_of()
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        (training,) = work.trainings.all()
        version = work.registry.promoted()
    found, (first, second) = balance(config), spends(config)
    assert 8.0 * (1 - 1e-3) < found.epsilon <= 8.0
    assert (first.round, second.round, first.noise) == (1, 2, noise)
    assert training.settings["noise"] == pytest.approx(first.multiplier * first.clip)
    assert training.privacy["epsilon"] == 8.0
    assert version.metrics["budget"] == {
        "account": found.entries[0].account,
        "number": 3,
        "head": found.entries[-1].hash,
        "epsilon": found.epsilon,
    }


def test_the_spend_is_on_the_disk_before_the_sum_is_opened_or_folded_in(tmp_path, monkeypatch):
    """Distributed: before anybody is asked to unmask. Central: before the model is kept."""
    seen = []
    for noise in ("central", "distributed"):
        config = budgeted(tmp_path / noise, "popularity", noise=noise)

        def drop(node, message, config=config, noise=noise):
            if noise == "distributed" and message.metadata.message_type == "query.unmask":
                seen.append(len(balance(config).entries))
            return False

        grid = grid_of(drop=drop)
        keep = Trainings.checkpoint

        def checkpoint(self, training, shared, answered, config=config, keep=keep):
            if shared.round_number:
                seen.append(len(balance(config).entries))
            return keep(self, training, shared, answered)

        with monkeypatch.context() as patch, coordinating(config, grid) as work:
            patch.setattr(Trainings, "checkpoint", checkpoint)
            work.train(grid)
    assert len(seen) == 2 + PEOPLE
    assert set(seen) == {2}


def test_a_second_training_finds_nothing_left_and_asks_nobody(tmp_path):
    config, grid = budgeted(tmp_path / "server", "popularity"), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        asked = len(work.journal.rounds())
        with pytest.raises(BudgetSpent, match=r"epsilon [78][.\d]* of 8 \(delta 1e-05\); what is left does not pay"):
            work.train(grid)
        assert len(work.journal.rounds()) == asked
        assert len(work.trainings.all()) == 1
        state = work.journal.state()
        assert (state.state, state.words.partition(":")[0]) == ("spent", "the privacy budget is spent")
        assert work.registry.promoted().number == 1
        assert work.journal.events()[0].kind == "budget"
    assert len(spends(config)) == 1


def test_as_many_trainings_are_held_as_the_limit_pays_for_and_no_more(tmp_path):
    config, grid = budgeted(tmp_path / "server", "popularity", epsilon=4.0, training_epsilon=2.0), grid_of()
    with coordinating(config, grid) as work:
        for _ in range(3):
            work.train(grid)
        with pytest.raises(BudgetSpent, match="another training at epsilon 2"):
            work.train(grid)
    assert len(spends(config)) == 3  # the squares of μ add up: three at 2 cost less than 4 together
    assert balance(config).epsilon <= 4.0


def test_a_restart_goes_on_in_the_same_account_with_the_same_noise(tmp_path, monkeypatch):
    """The first round is kept, the second fails after it was paid for: it may only count too much."""
    config, grid = budgeted(tmp_path / "server", epsilon=8.0, training_epsilon=3.0), grid_of()
    with failing(monkeypatch, "checkpoint", 3), coordinating(config, grid) as work, pytest.raises(ServerError):
        work.train(grid)
    first = spends(config)
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        (training,) = work.trainings.all()
    again = spends(config)
    assert [one.round for one in again] == [1, 2, 2]
    assert again[:2] == first
    assert [one.multiplier * one.clip for one in again] == pytest.approx([training.settings["noise"]] * 3)
    assert len({one.serial for one in again}) == 3


def test_a_training_that_cannot_be_completed_any_more_is_begun_anew_with_what_is_left(tmp_path, monkeypatch):
    """Its first round was paid for and lost: nothing was learned, and all of it together would pass the limit."""
    config, grid = budgeted(tmp_path / "server"), grid_of()
    with failing(monkeypatch, "checkpoint", 2), coordinating(config, grid) as work, pytest.raises(ServerError):
        work.train(grid)
    (lost,) = spends(config)
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        newest, oldest = work.trainings.all()
        assert (oldest.outcome, newest.outcome) == ("abandoned", "finished")
        assert newest.settings["noise"] > oldest.settings["noise"]
        assert "does not pay for all of it" in work.journal.events()[0].words
    assert 8.0 * (1 - 1e-2) < balance(config).epsilon <= 8.0
    assert spends(config)[0] == lost


def test_a_training_that_is_stopped_half_way_keeps_what_it_learned_and_goes_on_once_the_limit_is_raised(
    tmp_path, monkeypatch
):
    config, grid = budgeted(tmp_path / "server"), grid_of()
    with failing(monkeypatch, "checkpoint", 3), coordinating(config, grid) as work, pytest.raises(ServerError):
        work.train(grid)  # the second round was paid for and lost
    with coordinating(config, grid) as work:
        with pytest.raises(BudgetSpent, match="round 2 of training 1 would bring it to"):
            work.train(grid)
        state, version = work.journal.state(), work.registry.promoted()
        assert state.state == "spent"
        assert "What training 1 learned in 1 round is version 1, which is served" in state.words
        assert (version.round_number, version.number) == (1, 1)
        rounds = len(work.journal.rounds())
        with pytest.raises(BudgetSpent):
            work.train(grid)
        assert len(work.journal.rounds()) == rounds  # nobody was asked
        assert work.trainings.current().id == 1
    with Database(config.database) as database, held_budget(config, database, _key(config)) as budget:
        budget.set_limit(20.0, "a round was lost")
    with coordinating(config, grid) as work:
        assert work.train(grid) == 2
        assert work.trainings.all()[0].outcome == "finished"
        assert work.registry.promoted().round_number == 2
    assert balance(config).epsilon <= 20.0


def test_what_was_learned_half_way_does_not_take_the_place_of_a_whole_model(tmp_path, monkeypatch):
    config, grid = budgeted(tmp_path / "server", epsilon=3.0, training_epsilon=2.0), grid_of()
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        with failing(monkeypatch, "checkpoint", 3), pytest.raises(ServerError):
            work.train(grid)
        with pytest.raises(BudgetSpent):
            work.train(grid)
        assert work.registry.promoted().number == 1
        assert [version.number for version in work.registry.versions()] == [2, 1]
        assert "version 1 stays served, and 'fedpersona server promote 2' changes it" in work.journal.state().words


def test_a_limit_below_what_is_spent_stops_training_and_changes_nothing_else(tmp_path):
    config, grid = budgeted(tmp_path / "server", "popularity", training_epsilon=1.0), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        with held_budget(config, work._database, _key(config)) as budget:
            budget.set_limit(0.5, "too much")
        config = changed(config, privacy=PrivacyConfig(epsilon=0.5, delta=DELTA))
    with coordinating(config, grid) as work, pytest.raises(BudgetSpent):
        work.train(grid)
    assert len(spends(config)) == 1


def test_rounds_that_release_nothing_cost_nothing(tmp_path):
    config = budgeted(tmp_path / "server", "popularity", noise="distributed")
    grid = grid_of(drop=lambda node, message: node in LEAVE and message.metadata.message_type == "train.update")
    with coordinating(config, grid) as work, pytest.raises((DevicesLeft, CohortTooSmall)):
        work.train(grid)
    assert spends(config) == []


def test_a_sum_that_might_have_been_opened_is_paid_for_each_time(tmp_path):
    """Distributed: devices leave as they are asked to unmask; the server could have opened the sum."""
    config = budgeted(tmp_path / "server", "popularity", noise="distributed", training_epsilon=1.0)
    left = set(LEAVE)

    def drop(node, message):
        return message.metadata.message_type == "query.unmask" and node in left and not left.discard(node)

    grid = grid_of(drop=drop)
    with coordinating(config, grid) as work:
        work.train(grid)
        assert [one.outcome for one in work.journal.rounds()[::-1]] == ["devices left", "completed"]
    assert [one.round for one in spends(config)] == [1, 1]


def test_an_attempt_that_the_budget_does_not_pay_for_is_not_tried_again(tmp_path, monkeypatch):
    """Should a spend be refused in the middle of a round all the same, nothing is kept and no attempt is burnt."""
    config, grid = budgeted(tmp_path / "server", "popularity"), grid_of()

    def refuses(self, plan, training):
        raise BudgetSpent("the privacy budget is spent")

    monkeypatch.setattr(Budget, "spend", refuses)
    with coordinating(config, grid) as work:
        with pytest.raises(BudgetSpent):
            work.train(grid)
        assert [one.outcome for one in work.journal.rounds()] == ["failed"]
        assert work.registry.promoted() is None
        assert work.trainings.current().round_number == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"privacy": PrivacyConfig(epsilon=9.0, delta=DELTA)}, "server budget raise --epsilon 9 --reason"),
        ({"privacy": PrivacyConfig(epsilon=8.0, delta=1e-4)}, "delta is 0.0001, and the account counts by 1e-05"),
        ({"privacy": None}, "keeps a privacy budget"),
    ],
)
def test_a_configuration_that_the_account_does_not_allow_starts_nothing(tmp_path, change, words):
    config, grid = budgeted(tmp_path / "server", "popularity"), grid_of()
    with Database(config.database) as database:
        check_budget(config, database, _key(config))  # as the server starts: opens the account
        other = changed(config, **change)
        with pytest.raises(ConfigError, match=words):
            check_budget(other, database, _key(config))
    with coordinating(other, grid) as work:
        with pytest.raises(ConfigError, match=words):
            work.train(grid)
        assert work.journal.rounds() == []
        assert words in work.journal.state().words


def test_another_federation_does_not_spend_from_the_account(tmp_path):
    config = budgeted(tmp_path / "server", "popularity")
    with Database(config.database) as database:
        check_budget(config, database, _key(config))
        federation = config.federation.model_copy(update={"name": "Another"})
        with pytest.raises(ConfigError, match="is the budget of the federation 'Test people'"):
            check_budget(changed(config, federation=federation), database, _key(config))


def test_a_damaged_account_stops_the_training_before_anybody_is_asked(tmp_path):
    config, grid = budgeted(tmp_path / "server", "popularity", training_epsilon=1.0), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        config.budget.write_bytes(config.budget.read_bytes().replace(b'"round":1', b'"round":2'))
        rounds = len(work.journal.rounds())
        with pytest.raises(BudgetDamaged, match="entry 2"):
            work.train(grid)
        assert len(work.journal.rounds()) == rounds
        assert "entry 2" in work.journal.state().words


def test_a_second_coordinator_on_the_account_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fedpersona.aggregation.spending._WAIT", 0.1)
    config, grid = budgeted(tmp_path / "server", "popularity"), grid_of()
    with (
        coordinating(config, grid) as work,
        Database(config.database) as database,
        held_budget(config, database, _key(config)),
        pytest.raises(ServerRunning, match="another process works with this budget"),
    ):
        work.train(grid)


def test_the_section_begins_a_new_training_and_its_epsilon_alone_does_not(tmp_path, monkeypatch):
    config, grid = budgeted(tmp_path / "server", training_epsilon=2.0), grid_of()
    with failing(monkeypatch, "checkpoint", 3), coordinating(config, grid) as work, pytest.raises(ServerError):
        work.train(grid)
    lower = changed(config, privacy=PrivacyConfig(epsilon=7.0, delta=DELTA, training_epsilon=2.0))
    with failing(monkeypatch, "checkpoint", 1), coordinating(lower, grid) as work:
        with pytest.raises(ServerError):
            work.train(grid)
        assert [one.id for one in work.trainings.all()] == [1]
    other = changed(config, privacy=PrivacyConfig(epsilon=8.0, delta=DELTA, training_epsilon=3.0))
    with coordinating(other, grid) as work:
        work.train(grid)
        newest, oldest = work.trainings.all()
        assert oldest.outcome == "abandoned"
        assert newest.settings["noise"] < oldest.settings["noise"]
        assert "the section [privacy] was changed" in work.journal.events()[0].words


def test_counters_that_are_switched_on_half_way_do_not_make_a_training_dearer_than_it_said(tmp_path, monkeypatch):
    config, grid = budgeted(tmp_path / "server", training_epsilon=2.0, rounds={"rounds__metrics": False}), grid_of()
    with failing(monkeypatch, "checkpoint", 3), coordinating(config, grid) as work, pytest.raises(ServerError):
        work.train(grid)
    counting = changed(config, rounds=config.rounds.model_copy(update={"metrics": True}))
    with coordinating(counting, grid) as work:
        work.train(grid)
        newest, oldest = work.trainings.all()
        assert (newest.outcome, oldest.outcome) == ("finished", "abandoned")
    paid = [one.multiplier for one in spends(config) if one.training == newest.id]
    assert gaussian_epsilon(composed(paid), DELTA) <= 2.0


def test_sums_that_were_released_before_are_counted_as_not_covered(tmp_path):
    config, grid = configured(tmp_path / "server"), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
    config = changed(
        config,
        model=ModelConfig(name="popularity", catalogue=config.model.catalogue),
        privacy=PrivacyConfig(epsilon=8.0, delta=DELTA),
    )
    with coordinating(config, grid) as work:
        work.train(grid)
    assert balance(config).opened.earlier == 2


# -- when a run begins --


class Runs:
    """A SuperLink that starts runs, each of which is over at once."""

    def __init__(self) -> None:
        self.started = 0

    def start_run(self, bundle, config) -> int:
        self.started += 1
        return self.started

    def runs(self):
        from fedpersona.aggregation.superlink import RunState

        return {self.started: RunState("finished:completed", "")} if self.started else {}


class Silence:
    def info(self, *_, **__) -> None: ...

    error = warning = info


@pytest.mark.parametrize("kind", ["one-shot", "standing"])
def test_no_run_begins_while_the_budget_is_spent_and_one_does_once_the_limit_is_raised(tmp_path, kind):
    config, grid = budgeted(tmp_path / "server", "popularity", epsilon=2.0, training_epsilon=2.0), grid_of()
    config = changed(config, schedule=config.schedule.model_copy(update={"kind": kind, "every_days": 1e-9}))
    with coordinating(config, grid) as work:
        if kind == "standing":
            work.train(grid)
        else:
            with held_budget(config, work._database, _key(config)) as budget:
                budget.spend(plan(1, multiplier=2.1), 0)
        with pytest.raises(BudgetSpent):
            work.train(grid)
        runs = Runs()
        loop = ScheduleLoop(config, work._database, runs, bytes, Silence())
        for _ in range(5):
            loop.look()
        assert runs.started == 0
        again = ScheduleLoop(config, work._database, runs, bytes, Silence())  # a restart
        again.look()
        assert runs.started == 0
        with held_budget(config, work._database, _key(config)) as budget:
            budget.set_limit(5.0, "more people joined")
        again.look()
        assert runs.started == 1


def test_nothing_is_due_while_training_is_halted():
    class Said:
        kind, every_days, new_devices, wait_for = "standing", 1.0, 1, 1

    class Asked:
        schedule = rounds = Said()

    devices = scheduling.Devices(enrolled=100, new=100)
    for running in (False, True):
        for finished in (0, 3):
            history = scheduling.History(running=running, finished=finished, finished_at=0.0)
            assert scheduling.due(Asked(), 1e9, history, devices)
            halted = scheduling.History(running=running, finished=finished, finished_at=0.0, halted=True)
            assert not scheduling.due(Asked(), 1e9, halted, devices)
            assert scheduling.next_look(Asked(), 1e9, halted, devices) > 0


def test_another_model_or_section_lifts_a_halt(tmp_path):
    config, grid = budgeted(tmp_path / "server", "popularity"), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        with pytest.raises(BudgetSpent):
            work.train(grid)
        database = work._database
        assert halted_at(database, halt_terms(config))
        same = changed(config, privacy=PrivacyConfig(epsilon=2.0, delta=DELTA))
        assert halted_at(database, halt_terms(same))  # the epsilon there only opens the account
        for other in (
            changed(config, privacy=PrivacyConfig(epsilon=8.0, delta=DELTA, training_epsilon=1.0)),
            changed(config, model=ModelConfig(name="ease", catalogue=config.model.catalogue)),
        ):
            assert not halted_at(database, halt_terms(other))


def _key(config: ServerConfig):
    return signing_key(config.server.signing_key)
