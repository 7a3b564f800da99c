"""A run under an epsilon keeps its promise, chooses nothing on anyone's history, and says what it did."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fedpersona.errors import ConfigError
from fedpersona.privacy.gaussian import gaussian_epsilon
from fedpersona.simulation import RunConfig, Split, simulate
from fedpersona.simulation.narration import Silence
from tests.conftest import hold_out, invent


def run(split=None, narrator=None, **changes):
    options: dict[str, Any] = {"dataset": "invented", "model": "ease", "epsilon": 8.0, "ceiling": False}
    return simulate(RunConfig(**{**options, **changes}), narrator, split or hold_out(invent()))


def record(split=None, **changes):
    return run(split, **changes).record


class Notes(Silence):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_what_the_rounds_cost_is_counted_three_ways_and_kept():
    privacy = record(epsilon=3.0, delta=1e-6).privacy
    assert (privacy.epsilon, privacy.delta, privacy.unit, privacy.noise) == (3.0, 1e-6, "user", "central")
    assert privacy.epsilon_exact <= privacy.epsilon_pld <= 3.0 < privacy.epsilon_rdp
    assert privacy.epsilon_pld > 2.99, "no more noise than was asked for"
    assert len(privacy.noise_multipliers) == privacy.rounds == 2
    mu = math.sqrt(sum(1 / multiplier**2 for multiplier in privacy.noise_multipliers))
    assert privacy.mu == pytest.approx(mu)
    assert gaussian_epsilon(mu, 1e-6) == pytest.approx(privacy.epsilon_exact)


def test_without_an_epsilon_nothing_is_promised_and_all_is_as_it_was():
    whole = record(epsilon=None)
    assert whole.privacy is None
    assert [result.name for result in whole.results] == ["popularity", "ease"]
    assert len(whole.tuning) > 1
    assert record(epsilon=None).model_hash == whole.model_hash


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_the_noise_that_was_promised_is_in_what_is_released(noise):
    split = hold_out(invent(people=60, items=6000))
    done = run(split, model="popularity", epsilon=1.0, noise=noise, min_count=30)
    privacy = done.record.privacy
    nobody = np.setdiff1d(np.arange(6000), split.train.items)
    released = done.shared["listeners"][nobody]
    above = released[released > 0]
    deviation = privacy.deviation * (1.0 if noise == "central" else math.sqrt(60 / 30))
    assert len(above) == pytest.approx(len(nobody) / 2, rel=0.1)
    assert math.sqrt((above.astype(float) ** 2).mean()) == pytest.approx(deviation, rel=0.08)
    assert privacy.shares == (None if noise == "central" else 30)


def test_noise_never_comes_twice_though_the_seed_is_the_same():
    split = hold_out(invent())
    assert record(split, seed=5).model_hash != record(split, seed=5).model_hash


def test_nothing_is_chosen_on_anyones_history():
    """Other people, and other validation items: the same settings. Only how many they are may count."""
    one, other = hold_out(invent(seed=1)), hold_out(invent(seed=9))
    swapped = Split(one.train, one.test, one.val, complete=one.complete)
    settings = [record(split).settings for split in (one, swapped, other)]
    assert settings[0] == settings[1] == settings[2]
    for split in (one, swapped, other):
        whole = record(split)
        assert len(whole.tuning) == 1, "a single candidate is no choice"
        assert (whole.federated.serving.recency, whole.federated.serving.discount) == (None, 0.0)
        assert whole.privacy.hyperparameters == "fixed before the data was seen"


def test_what_was_fixed_beforehand_is_used():
    whole = record(recency=4.0, discount=0.2)
    assert (whole.federated.serving.recency, whole.federated.serving.discount) == (4.0, 0.2)
    assert (whole.settings["recency"], whole.settings["discount"]) == (4.0, 0.2)


def test_a_list_of_epsilons_is_a_curve_with_the_runs_own_among_them():
    whole = record(epsilon=8.0, epsilons=(0.5, 2.0))
    curve = whole.privacy.curve
    assert [point.epsilon for point in curve] == [0.5, 2.0, 8.0]
    deviations = [point.deviation for point in curve]
    assert deviations == sorted(deviations, reverse=True)
    assert curve[-1].ndcg == whole.federated.test["ndcg@10"]
    assert curve[-1].interval == whole.federated.intervals["ndcg@10"]
    assert curve[-1].popularity == next(r for r in whole.results if r.name == "noisy popularity").test["ndcg@10"]


def test_popularity_is_not_compared_with_itself():
    whole = record(model="popularity")
    assert [result.name for result in whole.results] == ["popularity", "popularity"]
    assert whole.privacy.curve[0].popularity is None


def test_the_ceiling_is_the_same_model_without_noise_on_everyone_once():
    split = hold_out(invent())
    whole = record(split, ceiling=True, replicate=3, behaviour={"dropout": 0.2})
    ceiling = next(result for result in whole.results if result.name == "ease, no noise")
    plain = record(split, epsilon=None, recency="off", discount=0.0).federated
    assert ceiling.role == "ceiling"
    assert ceiling.test == plain.test
    assert {result.name for result in whole.results if result.role == "ceiling"} == {
        "ease, no noise",
        "ease, central",
        "item kNN, central",
    }


def test_every_round_is_measured_under_noise_too():
    whole = record()
    assert [r.val_ndcg is not None for r in whole.rounds] == [True, True]
    assert whole.rounds[-1].test_ndcg == pytest.approx(whole.federated.test["ndcg@10"])


def test_more_devices_bear_the_same_noise():
    few, many = record(), record(replicate=50)
    assert many.devices == 50 * few.devices == 3000
    assert many.rounds[0].answered == many.privacy.people == 3000
    assert many.data.people == 60
    assert many.privacy.mu == pytest.approx(few.privacy.mu, rel=1e-5)


def test_with_distributed_noise_nearly_all_who_should_answer_have_to():
    assert record(noise="distributed").privacy.shares == 54
    assert record(noise="distributed", min_count=40).privacy.shares == 40
    assert record(noise="distributed", behaviour={"dropout": 0.2}, replicate=10).privacy.shares == 432


def test_secure_aggregation_carries_the_noise_of_its_devices():
    few = hold_out(invent(people=12))
    whole = record(few, noise="distributed", secure=True, model="popularity", min_count=8)
    assert whole.privacy.shares == 8
    assert whole.rounds[0].answered == 12


def test_a_delta_that_could_give_somebody_away_is_said():
    notes = Notes()
    run(narrator=notes, delta=0.02)
    assert any("not below one in 60 devices" in note for note in notes.notes)
    quiet = Notes()
    run(narrator=quiet, delta=1e-5)
    assert not quiet.notes


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"recency": "auto"}, "validation items"),
        ({"discount": "auto"}, "validation items"),
        ({"settings": {"noise": 2.0}}, "--epsilon"),
        ({"epsilon": None, "delta": 1e-5}, "without an epsilon"),
        ({"epsilon": None, "noise": "distributed"}, "epsilon"),
        ({"epsilon": None, "epsilons": (1.0,)}, "without an epsilon"),
    ],
)
def test_what_would_break_or_hollow_the_promise_is_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        record(**changes)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
def test_an_epsilon_is_above_nothing_and_finite(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        RunConfig(dataset="invented", epsilon=epsilon)


def test_a_record_with_a_promise_can_be_read_again(tmp_path):
    from fedpersona.simulation import read_record

    whole = record(epsilons=(1.0,), noise="distributed")
    (tmp_path / "run.json").write_text(whole.model_dump_json())
    assert read_record(tmp_path) == whole
