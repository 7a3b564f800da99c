"""What the private form of a model promises: no history, however made, is longer than the model states."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.plays import Plays
from fedpersona.privacy.clipping import clip, update_norm
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.protection import Protection, clip_for
from fedpersona.privacy.rounding import device_offsets
from fedpersona.taste import create
from fedpersona.taste.centred import STEPS, centred, popular_direction, put_back, taken_out
from fedpersona.taste.counters import counted, round_layout
from fedpersona.taste.model import Shared
from fedpersona.taste.spectrum import denoised, noise_edge
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update
from tests.conftest import invent

ITEMS = 40
CATALOGUE = invent(items=ITEMS).catalogue
PRIVATE = [
    ("popularity", {}),
    ("ease", {"head": 12}),
    ("ease", {}),
    ("subspace", {"rounds": 3}),
    ("ials", {"rounds": 3}),
]
TERMS = Protection("central", 8.0, 1e-5)


def played(items, times=None) -> Plays:
    rows = np.array(sorted(items), np.int32)
    return Plays(rows, np.ones(len(rows), np.float32), times)


histories = st.one_of(
    st.sets(st.integers(0, ITEMS - 1)),
    st.sampled_from([set(), {0}, {ITEMS - 1}, set(range(ITEMS)), set(range(12)), set(range(0, ITEMS, 2))]),
).map(played)


def noisy_start(model, round_number: int, seed: int) -> Shared:
    """Return a shared model of the round before, as noise alone makes it: the worst that a device is given."""
    shared = model.init(CATALOGUE, seed=seed)
    rng = np.random.default_rng(seed)
    for number in range(1, round_number):
        layout = model.layout(CATALOGUE, number)
        total = {spec.name: rng.normal(0, 30 * model.noise * spec.measure, spec.shape) for spec in layout.arrays}
        shared = model.apply(shared, Update(total), 50)
    return shared


def planned(model, round_number: int, *, metrics: bool = False, ring_bits: int = 32) -> Plan:
    plan = Plan(model.name, round_number, cohort=200, min_count=50, ring_bits=ring_bits, seed=1, metrics=metrics)
    length = round_layout(model, CATALOGUE, plan).length
    return Plan(**{**plan.__dict__, **TERMS.terms(model.name, length, model.noise)})


def contribution(model, shared, plays):
    return model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "chosen"), PRIVATE)
@settings(max_examples=40, deadline=None)
@given(plays=histories, seed=st.integers(0, 50))
def test_no_history_is_longer_than_the_model_states(name, chosen, plays, seed):
    model = create(name, {**chosen, "noise": 0.7})
    for number in range(1, model.planned_rounds(CATALOGUE) + 1):
        layout = model.layout(CATALOGUE, number)
        update = contribution(model, noisy_start(model, number, seed), plays)
        update.check(layout)
        assert update_norm(update, layout) <= layout.length * (1 + 1e-12)


@pytest.mark.parametrize(("name", "chosen"), PRIVATE)
def test_who_played_nothing_adds_nothing(name, chosen):
    model = create(name, {**chosen, "noise": 0.7})
    for number in range(1, model.planned_rounds(CATALOGUE) + 1):
        update = contribution(model, noisy_start(model, number, 3), played([]))
        assert all(not array.any() for array in update.arrays.values())


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "chosen"), PRIVATE)
@settings(max_examples=25, deadline=None)
@given(plays=histories, seed=st.integers(0, 50))
def test_what_is_encoded_is_never_longer_than_the_clip_tests_and_rounding_included(
    name, chosen, ring_bits, plays, seed
):
    model = create(name, {**chosen, "noise": 0.7})
    for number in range(1, model.planned_rounds(CATALOGUE) + 1):
        plan = planned(model, number, metrics=True, ring_bits=ring_bits)
        layout, shared = round_layout(model, CATALOGUE, plan), noisy_start(model, number, seed)
        update = counted(contribution(model, shared, plays), plan, model, shared, plays)
        update, _ = clip(update, layout, plan.clip)
        fixed_point = FixedPoint.for_plan(plan, layout)
        encoded = fixed_point.encode_update(update, device_offsets(plan, layout, plays))
        assert update_norm(fixed_point.decode(encoded), layout) <= plan.clip
        assert encoded["round.devices"][0] == fixed_point.scale("round.devices")


@pytest.mark.parametrize(("name", "chosen"), PRIVATE)
def test_an_update_that_is_too_long_is_shortened_to_the_clip_with_its_tests(name, chosen):
    model = create(name, {**chosen, "noise": 0.7})
    plan = planned(model, 1, metrics=True)
    layout = round_layout(model, CATALOGUE, plan)
    rng = np.random.default_rng(1)
    update = Update({spec.name: rng.normal(0, 5, spec.shape) for spec in layout.arrays})
    shorter, factor = clip(update, layout, plan.clip)
    assert factor < 0.5
    assert update_norm(shorter, layout) == pytest.approx(plan.clip)
    assert shorter["round.devices"][0] == update["round.devices"][0]


@pytest.mark.parametrize("noise", [0.7, 1000.0])
@pytest.mark.parametrize(("name", "chosen"), PRIVATE)
def test_scores_are_finite_however_much_noise_there_is(name, chosen, noise):
    model = create(name, {**chosen, "noise": noise})
    shared = noisy_start(model, model.planned_rounds(CATALOGUE) + 1, 9)
    model.check(shared, CATALOGUE)
    for plays in (played([]), played(range(ITEMS)), played([3, 8])):
        assert np.isfinite(model.scores(shared, model.personalise(shared, plays), plays)).all()


def test_the_length_of_a_round_covers_its_tests_as_well():
    model = create("popularity", {"noise": 1.0})
    plain, tested = (round_layout(model, CATALOGUE, planned(model, 1, metrics=metrics)) for metrics in (False, True))
    assert plain.length == 1.0
    assert tested.length == pytest.approx(math.sqrt(1 + 2 / 25))
    assert planned(model, 1, metrics=True).clip == clip_for(tested.length)


def test_without_noise_no_length_is_stated():
    for name, chosen in PRIVATE:
        assert create(name, chosen).layout(CATALOGUE, 1).length is None


# -- EASE's parts --


@given(st.sets(st.integers(0, 29)), st.integers(0, 1000))
def test_a_centred_history_has_no_part_along_what_everybody_plays_and_length_one(places, seed):
    popular = popular_direction(np.abs(np.random.default_rng(seed).normal(1, 0.5, 30)))
    steps = centred(np.array(sorted(places), np.int64), popular)
    assert steps.dtype == np.int64
    assert steps @ steps <= STEPS**2
    if places and len(places) < 30:
        assert math.sqrt(steps @ steps) == pytest.approx(STEPS, rel=0.02)
        assert abs(steps @ popular) / STEPS < 0.02
    elif not places:
        assert not steps.any()


def test_who_plays_just_what_everybody_plays_adds_nothing():
    assert not centred(np.arange(9), popular_direction(np.ones(9))).any()
    assert not popular_direction(np.zeros(9)).any()


def test_popularity_is_put_back_as_the_sum_of_uncentred_histories_has_it():
    rng = np.random.default_rng(4)
    people = [np.flatnonzero(rng.random(20) < np.linspace(0.9, 0.1, 20)) for _ in range(800)]
    people = [items for items in people if len(items)]
    matrix = np.zeros((len(people), 20))
    for row, items in zip(matrix, people, strict=True):
        row[items] = 1 / math.sqrt(len(items))
    votes, whole = matrix.sum(axis=0), matrix.T @ matrix
    popular = popular_direction(votes)
    rest = np.array([centred(items, popular) for items in people]) / STEPS
    again = put_back(taken_out(rest.T @ rest, popular), votes, popular, len(people))
    assert np.linalg.norm(again - whole) < 0.1 * np.linalg.norm(whole)


def test_noise_alone_leaves_nothing_and_a_strong_direction_stays():
    rng = np.random.default_rng(5)
    size, deviation = 200, 0.5
    noise = np.triu(rng.normal(0, deviation, (size, size)), 1)
    noise += noise.T + np.diag(rng.normal(0, deviation * math.sqrt(2), size))
    edge = noise_edge(size, deviation)
    assert np.linalg.norm(denoised(noise * 0.97, deviation)) < 0.2 * edge
    direction = rng.normal(size=size)
    direction /= np.linalg.norm(direction)
    found = denoised(noise + 6 * edge * np.outer(direction, direction), deviation)
    assert direction @ found @ direction == pytest.approx(6 * edge, rel=0.1)
    values = np.linalg.eigvalsh(found)
    assert values.min() > -1e-9
    assert np.sum(values > 0.5 * edge) == 1


def test_a_larger_population_gets_a_larger_head_and_shares_less_with_votes():
    model = create("ease", {"noise": 0.6})
    small, large = model.suited(1_000, 4_000), model.suited(100_000, 4_000)
    assert small.head < large.head <= 4_000
    assert create("ease", {"noise": 4.0}).suited(1_000, 4_000).count_share > large.count_share
    assert create("ease", {"noise": 1e6, "head": 7}).suited(10, 5).head == 5
    assert create("ease").suited(1_000, 4_000) == create("ease")


@pytest.mark.parametrize("items", [[], [3], [0, 3, 7], range(ITEMS)])
def test_who_answers_a_lying_server_does_not_depend_on_what_they_played(items):
    """Factors in one direction and hardly a ridge: equations that have no solution, for some histories."""
    model = create("ials", {"rounds": 2, "noise": 0.7, "ridge": 1e-6, "unseen": 1e-3})
    start = model.init(CATALOGUE, seed=1)
    for rows in (slice(None), [3], [0, 7]):
        factors = np.zeros(start["factors"].shape, np.float32)
        factors[rows] = 1e6
        gram = factors.astype(np.float64).T @ factors
        arrays = {"factors": factors, "gram": gram.astype(np.float32), "listeners": start["listeners"]}
        shared = Shared(model.name, CATALOGUE.version, 1, arrays)
        model.check(shared, CATALOGUE)
        layout = model.layout(CATALOGUE, 2)
        update = contribution(model, shared, played(items))
        update.check(layout)
        assert update_norm(update, layout) <= layout.length * (1 + 1e-12)
