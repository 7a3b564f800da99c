"""Invented people, small enough to check by hand."""

from __future__ import annotations

import os

# Tests run in parallel: one BLAS thread each. It must be said before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.population import Population, Split

LONG = (
    "tests/aggregation/test_a_federation_that_is_killed.py",
    "tests/cli/test_demo.py",
    "tests/simulation/test_parity.py",
    "tests/aggregation/test_erasure.py",
    "tests/aggregation/test_a_federation_that_spends_its_budget.py",
    "tests/clients/test_flower_app.py",
    "tests/clients/companion/test_companion_in_a_browser.py",
    "tests/device/test_node_contract.py",
    "tests/simulation/cluster/",
)
"""What runs whole servers or clusters, a minute or more each, the longest first."""


def pytest_collection_modifyitems(items):
    """Let the long ones begin: the first worker has them, one at a time, while the others do all the rest.

    As the folders come, two could begin as the last, and end minutes after everything else; or run at once, and each
    wait for the other's processes.
    """
    rank = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: next((rank[name] for name in LONG if item.nodeid.startswith(name)), len(LONG)))


@pytest.fixture(autouse=True)
def no_real_data(request, monkeypatch):
    """No test may depend on what a machine happens to have, but those that ask for real data."""
    if request.node.get_closest_marker("real_data") is None:
        monkeypatch.delenv("FEDPERSONA_DATA", raising=False)


def invent(people: int = 60, items: int = 40, *, seed: int = 1, timed: bool = True) -> Population:
    """Invent people of two tastes, with 4 to 12 items each."""
    rng = np.random.default_rng(seed)
    rows, columns = [], []
    for person in range(people):
        taste = np.r_[np.full(items // 2, 8.0), np.ones(items - items // 2)]
        taste = taste if person % 2 else taste[::-1]
        popular = 1.0 / (np.arange(items) % (items // 2) + 2)
        chances = taste * popular
        count = rng.integers(4, min(12, items - 1) + 1)
        chosen = rng.choice(items, count, replace=False, p=chances / chances.sum())
        rows += [person] * count
        columns += chosen.tolist()
    catalogue = Catalogue.create(
        [f"i{n}" for n in range(items)],
        titles=[f"Song {n}" for n in range(items)],
        artists=[f"Band {n // 3}" for n in range(items)],
        tags=[("folk" if n < items // 2 else "techno",) for n in range(items)],
        kind="track",
    )
    return Population.from_pairs(
        "invented",
        catalogue,
        np.array(rows),
        np.array(columns),
        person_ids=np.arange(1000, 1000 + people),
        weights=rng.integers(1, 9, len(rows)).astype(float),
        times=rng.integers(1_700_000_000, 1_700_000_050, len(rows)) if timed else None,
    )


def hold_out(population: Population, seed: int = 2) -> Split:
    """Hold two items of everyone back, at random."""
    rng = np.random.default_rng(seed)
    keep = np.ones(population.interactions, bool)
    val, test = [], []
    for person in range(len(population)):
        places = np.arange(population.indptr[person], population.indptr[person + 1])
        first, second = rng.choice(places, 2, replace=False)
        keep[[first, second]] = False
        val.append(population.items[first])
        test.append(population.items[second])
    people = np.repeat(np.arange(len(population)), np.diff(population.indptr))
    train = Population.from_pairs(
        population.name,
        population.catalogue,
        people[keep],
        population.items[keep],
        person_ids=population.person_ids,
        weights=population.weights[keep],
        times=None if population.times is None else population.times[keep],
    )
    return Split(train, np.array(val, np.int32), np.array(test, np.int32), complete=population)


@pytest.fixture
def population() -> Population:
    return invent()


@pytest.fixture
def split(population: Population) -> Split:
    return hold_out(population)
