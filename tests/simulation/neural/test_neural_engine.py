"""Many devices at once are what each would be alone, for every kind of module; and what holds to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.simulation.engines import make_engine, make_scorer
from fedpersona.simulation.neural.engine import NeuralEngine
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.scoring import query_matrix
from fedpersona.taste import create
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.taste.gradient.model import as_private
from fedpersona.wire.plan import Plan
from tests.conftest import invent
from tests.taste.neural.brought import taste
from tests.taste.neural.modules import Attending, Bilinear, Recurrent

PEOPLE = invent(people=23, items=30)
DEVICES_ASKED = np.array([0, 2, 3, 5, 6, 7, 11, 13, 17, 19, 20, 22])


def with_odd_histories(population: Population) -> Population:
    """Return the people, of whom one played nothing, one a single item and one all there is."""
    items = len(population.catalogue)
    histories = [population.plays(person).items for person in range(len(population))]
    histories[2], histories[3], histories[5] = np.empty(0, np.int32), np.array([4]), np.arange(items)
    owners = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    rows = np.concatenate(histories)
    times = np.random.default_rng(3).permutation(len(rows))
    return Population.from_pairs(
        "odd", population.catalogue, owners, rows, person_ids=population.person_ids, times=times
    )


ODD = with_odd_histories(PEOPLE)


def models():
    fedncf = {"dim": 4, "width": 6, "lr": 0.05}
    return [
        pytest.param(lambda **more: create("fedncf", fedncf | more), id="perceptron"),
        pytest.param(lambda **more: taste(Bilinear, lr=0.3, **more), id="bilinear"),
        pytest.param(lambda **more: taste(Recurrent, lr=0.3, **more), id="recurrent"),
        pytest.param(lambda **more: taste(Attending, lr=0.3, **more), id="attending"),
    ]


EVERY = pytest.mark.parametrize("make", models())


def summed(kind, model, *, population=ODD, devices=DEVICES_ASKED, clip=None, parts=1, **how):
    """Return the sum of encoded updates of one round, and what devices keep after it."""
    plan = Plan(model.name, 3, len(devices), 2, 64, seed=5, clip=clip)
    fixed_point = FixedPoint.for_plan(plan, round_layout(model, population.catalogue, plan))
    privates = PrivateTable.begin(model, 1, len(population)) if model.remembers else None
    total, shared = fixed_point.zeros(), model.init(population.catalogue, 2)
    rng = np.random.default_rng(4)  # no entry is exactly nothing, so everything has a slope
    moved = {name: array + 0.02 * rng.standard_normal(array.shape, np.float32) for name, array in shared.arrays.items()}
    engine = kind(model, population, Behaviour(), privates=privates, **how)
    for part in np.array_split(devices, parts):
        engine.add(total, plan, shared.next({}, **moved), fixed_point, part)
    return total, fixed_point.decode(total), None if privates is None else privates.rows


@EVERY
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"epochs": 3, "batch": 7},
        {"epochs": 2, "batch": 1000, "prox": 2.0},
        {"batch": 1, "longest": 0.05},
    ],
    ids=["plain", "several passes", "prox", "shortened"],
)
def test_many_at_once_are_each_one_alone(make, settings):
    model = make(**settings)
    _, alone, kept_alone = summed(DeviceEngine, model)
    _, together, kept = summed(NeuralEngine, model)
    for name in alone.arrays:
        scale = np.abs(alone[name]).max()
        assert scale > 1e-5
        np.testing.assert_allclose(together[name], alone[name], atol=2e-5 * scale)
    if kept_alone is not None:
        np.testing.assert_allclose(kept, kept_alone, atol=1e-5)
    assert together[DEVICES][0] == len(DEVICES_ASKED)


@EVERY
def test_a_plans_bound_on_the_length_holds_for_each_device(make):
    model = make(longest=1.0)
    _, alone, _ = summed(DeviceEngine, model, clip=0.02)
    _, together, _ = summed(NeuralEngine, model, clip=0.02)
    for name in alone.arrays:
        np.testing.assert_allclose(together[name], alone[name], atol=1e-5 * np.abs(alone[name]).max())
    one = summed(NeuralEngine, model, clip=0.02, devices=np.array([0, 7]), most_lanes=1)[1]
    assert sum(np.square(one[name]).sum() for name in one.arrays if name != DEVICES) ** 0.5 <= 2 * 0.02 * (1 + 1e-6)


@EVERY
def test_threads_change_no_bit_and_are_as_before(make):
    model, before = make(epochs=2), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = summed(NeuralEngine, model)
        torch.set_num_threads(3)
        three = summed(NeuralEngine, model)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(one[0][name], three[0][name]) for name in one[0])


@EVERY
@pytest.mark.parametrize("how", [{"most_lanes": 1}, {"most_lanes": 5}, {"most_bytes": 1}, {"parts": 3}])
def test_chunks_and_shards_change_a_sum_by_rounding_of_single_precision_at_most(make, how):
    model = make(epochs=2)
    _, whole, kept = summed(NeuralEngine, model)
    _, cut, kept_cut = summed(NeuralEngine, model, **how)
    for name in whole.arrays:
        np.testing.assert_allclose(cut[name], whole[name], atol=1e-5 * np.abs(whole[name]).max())
    if kept is not None:
        np.testing.assert_allclose(kept_cut, kept, atol=1e-5)


@EVERY
def test_the_same_devices_give_the_same_bits_again(make):
    model = make(epochs=2)
    first, again = summed(NeuralEngine, model), summed(NeuralEngine, model)
    assert all(np.array_equal(first[0][name], again[0][name]) for name in first[0])
    assert first[2] is None or np.array_equal(first[2], again[2])


def test_memory_bounds_how_many_are_side_by_side():
    model = taste(Bilinear)
    engine = NeuralEngine(model, ODD, Behaviour(), privates=PrivateTable.begin(model, 1, len(ODD)), most_bytes=200_000)
    chunks = list(engine._chunks(DEVICES_ASKED))
    lengths = [np.diff(ODD.indptr)[chunk] for chunk in chunks]
    assert sorted(np.concatenate(chunks).tolist()) == DEVICES_ASKED.tolist()
    assert 1 < len(chunks) < len(DEVICES_ASKED)
    assert (np.diff(np.concatenate(lengths)) <= 0).all()


def test_a_shard_trains_its_people_under_their_own_numbers():
    model = taste(Bilinear, lr=0.3)
    whole = summed(NeuralEngine, model, devices=np.arange(10, 14))[1]
    shard = Population.from_pairs(
        "shard",
        ODD.catalogue,
        np.repeat(np.arange(4), np.diff(ODD.indptr)[10:14]),
        ODD.items[ODD.indptr[10] : ODD.indptr[14]],
        person_ids=np.arange(4),
    )
    cut = summed(NeuralEngine, model, population=shard, devices=np.arange(10, 14), first=10)[1]
    for name in whole.arrays:
        np.testing.assert_allclose(cut[name], whole[name], atol=1e-5 * np.abs(whole[name]).max())


def test_one_device_that_leaves_the_range_of_numbers_moves_nothing_and_spoils_no_other():
    class Cubed(nn.Module):
        tables = ("item",)

        def __init__(self, items):
            super().__init__()
            self.item = nn.Embedding(items, 2)
            with torch.no_grad():
                self.item.weight.fill_(0.01)
                self.item.weight[4:5] = 100.0  # the one item that device 3 played

        def forward(self, items):
            return (self.item(items) ** 3).sum(-1)

    model = taste(Cubed, lr=1e4, epochs=3, batch=1)
    _, alone, _ = summed(DeviceEngine, model, devices=np.array([0, 3]))
    _, together, _ = summed(NeuralEngine, model, devices=np.array([0, 3]))
    for name in alone.arrays:
        np.testing.assert_allclose(together[name], alone[name], atol=1e-5)


def test_a_training_that_no_device_survives_is_told():
    class Huge(nn.Module):
        tables = ("item",)

        def __init__(self, items):
            super().__init__()
            self.item = nn.Embedding(items, 2)

        def forward(self, items):
            return (self.item(items) * 0).sum(-1).sqrt()  # 0, and no slope there

    with pytest.raises(ConfigError, match="lower lr"):
        summed(NeuralEngine, taste(Huge), population=PEOPLE)


def test_what_cannot_be_mapped_over_devices_is_told_in_a_sentence():
    class Library(nn.Module):
        tables, task, length = ("item",), "sequence", 5

        def __init__(self, items):
            super().__init__()
            self.item = nn.Embedding(items, 4)
            self.unit = nn.GRU(4, 4, batch_first=True)

        def forward(self, history, candidates):
            states = self.unit(self.item(history).unsqueeze(0))[0].squeeze(0)
            return (self.item(candidates) @ states.unsqueeze(-1)).squeeze(-1)

    model = taste(Library)
    with pytest.raises(ConfigError, match=r"gru.*engine 'device'"):
        summed(NeuralEngine, model)
    assert np.abs(summed(DeviceEngine, model)[1]["unit/weight_ih_l0"]).max() > 0


def test_a_plan_that_tests_models_on_devices_is_for_the_other_engine():
    model = taste(Attending)
    plan = Plan(model.name, 1, 5, 2, 64, seed=5, metrics=True)
    fixed_point = FixedPoint.for_plan(plan, round_layout(model, ODD.catalogue, plan))
    with pytest.raises(ConfigError, match="engine 'device'"):
        NeuralEngine(model, ODD, Behaviour()).add(
            fixed_point.zeros(), plan, model.init(ODD.catalogue, 1), fixed_point, np.arange(5)
        )


@EVERY
@pytest.mark.parametrize("half_life", [None, 3.0])
def test_people_are_scored_as_their_devices_would(make, half_life):
    model = make(fit_epochs=3)
    shared, people = model.init(ODD.catalogue, 2), np.array([0, 2, 4, 5, 9, 12])
    kept = PrivateTable.begin(model, 1, len(ODD)).take(people) if model.remembers else None
    if kept is not None:
        kept += np.random.default_rng(1).standard_normal(kept.shape).astype(np.float32)
    scorer = make_scorer(model, shared, ODD, people, kept)
    asked = people[[0, 2, 3, 5]]
    scores = scorer.scores_for(asked, query_matrix(ODD, asked, half_life), half_life)
    for row, person in enumerate(asked.tolist()):
        plays = ODD.plays(person)
        fitted = model.model_copy(update={"recency": half_life}).personalise(shared, plays)
        private = fitted
        if kept is not None and (half_life is None or model.blueprint.task == "sequence"):
            private = as_private(kept[people.tolist().index(person)], model.private_shapes())
        np.testing.assert_allclose(scores[row], model.scores(shared, private, plays), atol=2e-5)


def test_the_engine_cohort_is_this_one_for_modules():
    model = taste(Attending)
    engine = make_engine("cohort", model, ODD, Behaviour(), workers=2, progress=lambda done, total: None)
    assert isinstance(engine, NeuralEngine)
