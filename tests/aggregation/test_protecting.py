"""The noise of a training: as much as its promise needs, and no less than any count of it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.aggregation.protecting import clips, costliest, protected
from fedpersona.errors import ConfigError
from fedpersona.privacy.gaussian import gaussian_epsilon, gaussian_mu
from fedpersona.taste.model import TasteModel
from fedpersona.taste.popularity import Popularity
from fedpersona.taste.registry import create
from fedpersona.wire.layout import ArraySpec, Layout
from tests.conftest import invent

CATALOGUE = invent(12).catalogue


class Stated(Popularity):
    """States a length that differs from round to round, in its private form only."""

    rounds: int = 3

    def layout(self, catalogue, round_number: int) -> Layout:
        length = float(round_number) if self.noise > 0 else None
        return Layout((ArraySpec("listeners", (len(catalogue),), bound=1.0),), length)


class Silent(Popularity):
    """States no length."""

    def layout(self, catalogue, round_number: int) -> Layout:
        return Layout((ArraySpec("listeners", (len(catalogue),), bound=1.0),))


class Fickle(Popularity):
    """Wants the more noise the more it has."""

    def layout(self, catalogue, round_number: int) -> Layout:
        return Layout((ArraySpec("listeners", (len(catalogue),), bound=1.0),), 2.0 * self.noise + 1.0)


def spent(model: TasteModel, delta: float, *, metrics: bool = False) -> float:
    """Return what all rounds cost by their noise, counted by itself."""
    lengths = [number * (1 + 1e-9) for number in (1, 2, 3)]
    if metrics:
        lengths = [math.sqrt(number**2 + 2 / 25) * (1 + 1e-9) for number in (1, 2, 3)]
    return gaussian_epsilon(math.sqrt(sum((length / model.noise) ** 2 for length in lengths)), delta)


@pytest.mark.parametrize("metrics", [False, True])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 40.0])
def test_the_planned_rounds_cost_what_was_promised_and_not_a_bit_more(epsilon, metrics):
    model, protection = protected(Stated(), CATALOGUE, epsilon=epsilon, delta=1e-5, metrics=metrics)
    assert epsilon * (1 - 1e-4) < spent(model, 1e-5, metrics=metrics) <= epsilon
    assert (protection.epsilon, protection.delta, protection.noise) == (epsilon, 1e-5, "central")


def test_all_else_of_the_model_stays_as_it_is():
    model, _ = protected(Stated(discount=0.2, noise=77.0), CATALOGUE, epsilon=1.0, delta=1e-6)
    assert model.model_dump(exclude={"noise"}) == Stated(discount=0.2).model_dump(exclude={"noise"})
    assert model.noise == protected(Stated(), CATALOGUE, epsilon=1.0, delta=1e-6)[0].noise


def test_a_separation_counts_the_worst_rounds_that_one_device_can_be_in():
    model, protection = protected(Stated(), CATALOGUE, epsilon=2.0, delta=1e-5, separation=2, noise="distributed")
    together = math.sqrt(1**2 + 3**2) * (1 + 1e-9)  # rounds 1 and 3 cost more than round 2
    assert model.noise == pytest.approx(together / gaussian_mu(2.0, 1e-5), rel=1e-4)
    assert gaussian_epsilon(together / model.noise, 1e-5) <= 2.0
    assert (protection.separation, protection.noise) == (2, "distributed")


def test_the_plan_of_a_round_says_what_was_worked_out():
    model, protection = protected(Stated(), CATALOGUE, epsilon=8.0, delta=1e-5)
    terms = protection.terms(model.name, 2.0, model.noise)
    assert terms["clip"] == clips(model, CATALOGUE, metrics=False)[2]
    assert terms["noise_multiplier"] == model.noise / terms["clip"]
    assert (terms["epsilon"], terms["delta"]) == (8.0, 1e-5)


def test_a_model_that_states_no_length_is_refused_by_name():
    with pytest.raises(ConfigError, match="the model 'popularity' does not state how long an update can be"):
        protected(Silent(), CATALOGUE, epsilon=8.0, delta=1e-5)


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [*((epsilon, 1e-5) for epsilon in (0.0, -1.0, math.nan, math.inf, 1001.0, 1e308)), (8.0, 0.0), (8.0, 1.0)],
)
def test_a_promise_out_of_its_range_is_refused(epsilon, delta):
    with pytest.raises(ConfigError, match=r"epsilon|delta"):
        protected(Stated(), CATALOGUE, epsilon=epsilon, delta=delta)


def test_a_promise_that_no_noise_can_keep_is_refused():
    with pytest.raises(ConfigError, match="larger epsilon or fewer rounds"):
        protected(Stated(), CATALOGUE, epsilon=1e-12, delta=1e-13)


def test_a_model_whose_length_runs_away_from_its_noise_is_refused():
    with pytest.raises(ConfigError, match=r"changes its form with its noise|larger epsilon"):
        protected(Fickle(), CATALOGUE, epsilon=1.0, delta=1e-5)


@pytest.mark.parametrize("name", ["subspace", "ials", "ease"])
def test_a_model_is_suited_to_any_number_of_people(name):
    """Where one round more is worth it only with the noise of one round less, the model has one round less."""
    catalogue, rounds = invent(12, items=400).catalogue, []
    for people in np.geomspace(1_200, 2_400, 7).astype(int):
        model, _ = protected(create(name), catalogue, epsilon=8.0, delta=1e-5, people=int(people))
        lengths = clips(model, catalogue, metrics=False).values()
        assert 8.0 * (1 - 1e-4) < gaussian_epsilon(math.hypot(*lengths) / model.noise, 1e-5) <= 8.0
        rounds.append(len(lengths))
    assert rounds == sorted(rounds)


@given(
    st.dictionaries(st.integers(1, 14), st.floats(0, 100), max_size=8),
    st.integers(1, 6),
)
def test_the_costliest_rounds_are_the_worst_of_all_choices(shares, separation):
    """Against every choice of rounds, one by one."""
    worst = 0.0
    for size in range(len(shares) + 1):
        for chosen in itertools.combinations(sorted(shares), size):
            if all(later - earlier >= separation for earlier, later in itertools.pairwise(chosen)):
                worst = max(worst, sum(shares[number] for number in chosen))
    assert costliest(shares, separation) == pytest.approx(worst)


def test_a_separation_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        costliest({1: 1.0}, 0)
