"""Factor models by the compiled kernel against devices one by one, round after round."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation import factor_engine, factor_scorer
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.simulation.engines import make_engine, make_scorer
from fedpersona.simulation.factor_engine import FactorEngine
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.scoring import query_matrix
from fedpersona.taste import create
from fedpersona.taste.counters import round_layout
from tests.conftest import invent

FLAKY = Behaviour(dropout=0.2)
MODELS = [
    ("fedmf", {}),
    ("fedmf", {"loss": "bpr", "prox": 0.1, "epochs": 2}),
    ("fedrecon", {}),
    ("pfedrec", {}),
    ("fedmf", {"longest": 0.01}),
]


def trained(kind, model, population, *, rounds=4, **settings):
    """Run some rounds; return the shared items and what devices keep."""
    table = PrivateTable.begin(model, 5, len(population)) if model.remembers else None
    how = {"workers": 2} if kind is FactorEngine else {}
    engine = kind(model, population, FLAKY, privates=table, **how)
    coordinator = Coordinator(model, population.catalogue, engine, cohort=40, min_count=2, seed=5, **settings)
    for _ in range(rounds):
        coordinator.run_round()
    return coordinator.shared, np.zeros((1, 1), np.float32) if table is None else table.rows


def close(one, other):
    return np.abs(one - other).max() <= 2e-5 * np.abs(other).max()


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize(("name", "settings"), MODELS)
def test_rounds_by_the_kernel_are_those_of_devices_one_by_one(name, settings, clip, ring_bits):
    population, model = invent(), create(name, {"dim": 8, **settings})
    exact, kept = trained(DeviceEngine, model, population, clip=clip, ring_bits=ring_bits)
    fast, fast_kept = trained(FactorEngine, model, population, clip=clip, ring_bits=ring_bits)
    assert close(fast["items"], exact["items"])
    assert close(fast_kept, kept)
    assert (exact["items"] != model.init(population.catalogue, 5)["items"]).any()


def test_any_number_of_workers_and_any_shards_give_the_same_bits():
    population, model = invent(), create("fedmf", {"dim": 8})
    shared = model.init(population.catalogue, 5)
    results = []
    for workers, cuts in [(1, [0, 60]), (3, [0, 60]), (2, [0, 7, 30, 60])]:
        table = PrivateTable.begin(model, 5, 60)
        plan, fixed_point, total = asked(model, population)
        for start, end in pairwise(cuts):
            part = population_part(population, start, end)
            rows = PrivateTable(table.rows[start:end])
            engine = FactorEngine(model, part, Behaviour(), privates=rows, first=start, workers=workers)
            engine.add(total, plan, shared, fixed_point, np.arange(start, end))
        results.append((total["items"].tobytes(), total["round.devices"].tobytes(), table.rows.tobytes()))
    assert results[0] == results[1] == results[2]


def asked(model, population, **settings):
    plan = Coordinator(model, population.catalogue, None, cohort=60, min_count=2, seed=5, **settings).plan(1)
    fixed_point = FixedPoint.for_plan(plan, round_layout(model, population.catalogue, plan))
    return plan, fixed_point, fixed_point.zeros()


def population_part(population, start, end):
    """Return some people, with positions from 0."""
    first, last = population.indptr[[start, end]]
    return replace(
        population,
        indptr=population.indptr[start : end + 1] - first,
        items=population.items[first:last],
        weights=population.weights[first:last],
        times=population.times[first:last],
        person_ids=population.person_ids[start:end],
    )


def test_an_interrupted_round_leaves_what_devices_keep_as_it_was():
    population, model = invent(), create("fedmf", {"dim": 8})
    table = PrivateTable.begin(model, 5, 60)
    before = table.rows.copy()
    plan, fixed_point, total = asked(model, population)

    def interrupt(done, of):
        raise KeyboardInterrupt

    engine = FactorEngine(model, population, Behaviour(), interrupt, privates=table)
    shared = model.init(population.catalogue, 5)
    with pytest.raises(KeyboardInterrupt):
        engine.add(total, plan, shared, fixed_point, np.arange(60))
    np.testing.assert_array_equal(table.rows, before)
    engine.progress = lambda done, of: None
    clean = {name: np.zeros_like(array) for name, array in total.items()}
    engine.add(clean, plan, shared, fixed_point, np.arange(60))  # nothing of the broken sum is left
    other = FactorEngine(model, population, Behaviour(), privates=PrivateTable(before))
    again = fixed_point.zeros()
    other.add(again, plan, shared, fixed_point, np.arange(60))
    np.testing.assert_array_equal(clean["items"], again["items"])


def test_an_empty_cohort_adds_nothing():
    population, model = invent(), create("fedmf", {"dim": 8})
    plan, fixed_point, total = asked(model, population)
    engine = FactorEngine(model, population, Behaviour(), privates=PrivateTable.begin(model, 5, 60))
    engine.add(total, plan, model.init(population.catalogue, 5), fixed_point, np.arange(0))
    assert not any(array.any() for array in total.values())


def test_metrics_on_devices_are_for_the_reference():
    population, model = invent(), create("fedmf", {"dim": 8})
    plan, fixed_point, total = asked(model, population, metrics=True)
    engine = FactorEngine(model, population, Behaviour(), privates=PrivateTable.begin(model, 5, 60))
    with pytest.raises(ConfigError, match="use the engine 'device'"):
        engine.add(total, plan, model.init(population.catalogue, 5), fixed_point, np.arange(60))


@pytest.mark.parametrize("half_life", [None, 3.0])
@pytest.mark.parametrize(("name", "settings"), MODELS[:4])
def test_scores_by_the_kernel_are_those_of_devices_one_by_one(name, settings, half_life, monkeypatch):
    population, model = invent(), create(name, {"dim": 8, **settings})
    shared, rows = trained(FactorEngine, model, population, rounds=2)
    people = np.array([1, 4, 5, 30])
    kept = rows[people] if model.remembers else None
    query = query_matrix(population, people, half_life)
    fast = make_scorer(model, shared, population, people, kept).scores_for(people, query, half_life)
    monkeypatch.setattr(factor_scorer, "library", lambda: None)
    exact = make_scorer(model, shared, population, people, kept).scores_for(people, query, half_life)
    assert close(fast, exact)
    assert np.ptp(exact, axis=1).min() > 0


def test_without_a_compiler_the_reference_runs_and_says_so(monkeypatch):
    monkeypatch.setattr(factor_engine, "library", lambda: None)
    monkeypatch.setattr(factor_engine, "absence", lambda: "the compiled kernel was not built: build it")
    population, model = invent(), create("fedmf", {"dim": 8})
    table = PrivateTable.begin(model, 5, 60)
    engine = make_engine("cohort", model, population, FLAKY, workers=2, progress=lambda done, of: None, privates=table)
    assert engine.description == "the reference, one device after another: the compiled kernel was not built: build it"
    fallen, kept = trained(FactorEngine, model, population)
    exact, others = trained(DeviceEngine, model, population)
    assert fallen.hash() == exact.hash()
    np.testing.assert_array_equal(kept, others)
