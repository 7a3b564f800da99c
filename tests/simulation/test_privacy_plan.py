"""The answer of ``fedpersona privacy plan``, from public numbers alone but for the simulation."""

from __future__ import annotations

import json

import pytest

from fedpersona.errors import ConfigError, UnknownName
from fedpersona.simulation import RunConfig, expectation, simulate
from fedpersona.simulation.expectation import Promise
from fedpersona.simulation.narration import Silence
from fedpersona.simulation.privacy_plan import plan_privacy
from tests.conftest import hold_out, invent


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(expectation, "SIMULATED_PEOPLE", 200)
    monkeypatch.setattr(expectation, "SIMULATED_ITEMS", 100)
    monkeypatch.setattr(expectation, "_SEEDS", 1)


def plan(**changes):
    return plan_privacy(Promise(**{"users": 60, "model": "ease", "epsilon": 8.0, "delta": 1e-5, **changes}), Silence())


def test_it_is_what_a_run_on_as_many_people_will_have():
    found = plan(items=40)
    run = simulate(RunConfig(dataset="invented", model="ease", epsilon=8.0, ceiling=False), split=hold_out(invent()))
    privacy = run.record.privacy
    assert found.multipliers == privacy.noise_multipliers
    assert found.model.noise == privacy.deviation
    assert found.cost.epsilon == privacy.epsilon_pld
    assert found.cost.mu == privacy.mu
    assert found.sentence == privacy.sentence
    assert found.bytes_up == run.record.federated.bytes_up


def test_it_can_be_written_as_json_and_says_where_it_becomes_good():
    told = json.loads(json.dumps(plan(users=1_000).as_json()))
    assert told["users"] == told["cohort"] == 1_000
    assert told["privacy"]["unit"] == "user"
    assert told["privacy"]["epsilon_exact"] <= told["privacy"]["epsilon_pld"] <= 8.0 < told["privacy"]["epsilon_rdp"]
    assert told["good"]["kept"] == 0.9
    assert {"users", "floor", "noisy_popularity", "ndcg", "ceiling", "kept", "kept_between", "seeds"} == set(
        told["expected"][0]
    )


def test_the_real_catalogue_counts_for_bytes_however_few_items_are_simulated():
    assert plan(model="popularity", items=50_000).bytes_up == 4 * (50_000 + 1)


def test_distributed_noise_says_whose_shares_make_it_whole():
    found = plan(users=1_000, model="popularity", noise="distributed")
    assert found.min_count == 900
    assert plan(users=1_000, model="popularity").min_count == 100


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "pagerank"}, UnknownName),
        ({"settings": {"rounds": 7}}, ConfigError),
        ({"epsilon": 0.0}, ConfigError),
        ({"delta": 1.0}, ConfigError),
    ],
)
def test_what_cannot_be_promised_is_refused_before_anything_is_simulated(changes, error):
    with pytest.raises(error):
        plan(**changes)


def test_a_delta_that_could_be_the_chance_of_giving_one_person_away_is_noted(monkeypatch):
    noted: list[str] = []
    monkeypatch.setattr(Silence, "note", lambda _self, text: noted.append(text))
    plan(model="popularity", delta=1e-3)
    assert noted == []
    plan(model="popularity", delta=0.1)
    assert len(noted) == 1
    assert "a delta of 0.1 is not below one in 60 devices" in noted[0]
