"""An attack that knows all but one history, against the ε that is claimed; and builds that are broken on purpose.

The attacker is the one of the definition: it knows every other history, the one in question, and the released sum, and
guesses whether that history was there. Its errors over many releases bound μ from below with confidence (each error's
Clopper-Pearson interval), hence ε: the claim has to stay above it. The same test, on a build whose noise is halved or
that does not clip, must find a bound above the claim, else it would find nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, norm

from fedpersona.aggregation import Coordinator
from fedpersona.aggregation.protecting import protected
from fedpersona.plays import Plays
from fedpersona.privacy import mechanism
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.gaussian import gaussian_epsilon
from fedpersona.simulation import simulated_device
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.taste import Popularity, create
from fedpersona.taste.counters import round_layout
from fedpersona.wire.layout import Layout
from fedpersona.wire.update import Update
from tests.conftest import invent
from tests.simulation.test_private_rounds import emptied

EPSILON, DELTA = 8.0, 1e-5
PEOPLE = 4
RELEASES = 1200
PERSON = 3
DOUBT = 1e-6  # how often the attack may claim too much


class Greedy(Popularity):
    """A model with a fault: its updates are four times as long as it states."""

    def contribute(self, shared, private, plays: Plays, rng):
        return Update(
            {name: 4.0 * array for name, array in super().contribute(shared, private, plays, rng).arrays.items()}
        )

    def layout(self, catalogue, round_number):
        layout = super().layout(catalogue, round_number)
        return Layout(tuple(replace(spec, bound=4.0, unit=1.0) for spec in layout.arrays), layout.length)


def releases(world: Coordinator, times: int):
    """Collect once, and yield the sum of ``listeners`` as it is released, with fresh noise each time."""
    engine, plan = world.collector, world.plan(1)
    layout = round_layout(world.model, world.catalogue, plan)
    fixed_point = FixedPoint.for_plan(plan, layout)
    collected = fixed_point.encode_words(_nothing(layout), dict.fromkeys(layout.names, 0.0))
    for number in range(PEOPLE):
        plays = engine.population.plays(number)
        update = simulated_device.addend(world.model, layout, plan, world.shared, plays, device=number)
        collected += fixed_point.encode_words(update, dict.fromkeys(layout.names, 0.0))
    for _ in range(times):
        words = collected.copy()
        for _device in range(PEOPLE if plan.noise == "distributed" else 0):
            mechanism.add_share(words, fixed_point)
        yield mechanism.released(fixed_point.decode_words(words), plan, fixed_point)["listeners"]


def _nothing(layout) -> Update:
    return Update({spec.name: np.zeros(spec.shape) for spec in layout.arrays})


def coordinators(noise: str, model: Popularity):
    """Return the same round over people with, and without, the history in question."""
    population = invent(PEOPLE)
    for people in (population, emptied(population, PERSON)):
        private, protection = protected(
            model, people.catalogue, epsilon=EPSILON, delta=DELTA, noise=noise, people=len(people)
        )
        yield Coordinator(
            private,
            people.catalogue,
            DeviceEngine(private, people, Behaviour()),
            cohort=len(people),
            min_count=len(people),
            seed=5,
            protection=protection,
        )


def attack(noise="central", model: Popularity | None = None) -> float:
    """Return an ε that the releases are shown not to keep, at confidence 1 - DOUBT."""
    worlds = coordinators(noise, model or create("popularity"))
    sums = [np.array(list(releases(world, RELEASES))) for world in worlds]
    plays = invent(PEOPLE).plays(PERSON)
    direction = np.zeros(sums[0].shape[1])
    direction[plays.items] = 1.0
    there, away = (found @ direction for found in sums)
    # A threshold from one half, errors counted on the other: no choice is made on what is counted.
    half = RELEASES // 2
    threshold = (there[:half].mean() + away[:half].mean()) / 2
    found, mistaken = (there[half:] > threshold).sum(), (away[half:] > threshold).sum()
    return gaussian_epsilon(max(_mu(found, mistaken, RELEASES - half), 0.0), DELTA)


def _mu(found: int, mistaken: int, of: int) -> float:
    """Return a lower bound of μ: at least as many found, at most as many mistaken."""
    least = beta.ppf(DOUBT / 2, found, of - found + 1) if found else 0.0
    most = beta.ppf(1 - DOUBT / 2, mistaken + 1, of - mistaken) if mistaken < of else 1.0
    return float(norm.ppf(least) - norm.ppf(most))


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_the_attack_never_shows_more_than_is_claimed_and_comes_near_it(noise):
    shown = attack(noise=noise)
    assert 0.3 * EPSILON < shown <= EPSILON


def test_the_attack_finds_noise_that_was_halved(monkeypatch):
    honest = mechanism.gaussian_integers
    monkeypatch.setattr(mechanism, "gaussian_integers", lambda size, deviation: honest(size, deviation / 2))
    assert attack() > EPSILON


def test_the_attack_finds_shares_that_devices_halved(monkeypatch):
    honest = mechanism.add_gaussian
    monkeypatch.setattr(mechanism, "add_gaussian", lambda words, deviation: honest(words, deviation / 2))
    assert attack(noise="distributed") > EPSILON


def test_a_model_that_states_too_little_is_held_by_clipping_alone():
    assert attack(model=Greedy()) <= EPSILON


def test_the_attack_finds_a_clip_that_is_skipped(monkeypatch):
    monkeypatch.setattr(simulated_device, "clip", lambda update, layout, limit: (update, 1.0))
    assert attack(model=Greedy()) > EPSILON


def test_the_layout_of_the_faulty_model_states_the_same_length_as_the_right_one():
    world = next(iter(coordinators("central", Greedy())))
    layout = round_layout(world.model, world.catalogue, world.plan(1))
    assert layout.length == 1.0
    assert layout["listeners"].measure == 1.0
