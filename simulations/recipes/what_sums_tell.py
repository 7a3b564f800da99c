"""What one correct sum of the model ``subspace`` tells about single people, with every mask in place.

    python simulations/recipes/what_sums_tell.py 50 5000

A device adds one vector to the row of every item that it played. A row that only one person played is that person's
vector; once vectors are known, the rows that several people played are sums of them, and can be told apart: by least
squares where there are no more people than dimensions, else by looking up sums of two. Invented people, as many items,
and nothing but the sum that a server opens. Secure aggregation hides single updates; it hides nothing of the sum.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import device_offsets
from fedpersona.simulation.population import Population
from fedpersona.simulation.simulated_device import addend
from fedpersona.simulation.synthetic import generate
from fedpersona.taste import Subspace
from fedpersona.taste.counters import round_layout
from fedpersona.wire.plan import Plan

Listeners = dict[int, frozenset[int]]
"""Who played an item, by the item: a person is a number that the attacker gave."""


def opened_sum(population: Population, model: Subspace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what the server opens after a round: the sketch in integers, (items, dim), and listeners, (items,)."""
    people, shared = len(population), model.init(population.catalogue, 1)
    plan = Plan(
        model.name,
        round_number=1,
        cohort=people,
        min_count=people,
        ring_bits=32,
        seed=1,
        shared_hash=shared.hash(),
        settings=tuple(sorted(model.model_dump().items())),
        clip=64.0,
    )
    layout = round_layout(model, population.catalogue, plan)
    fixed_point = FixedPoint(layout, people, 32)
    total = np.zeros(layout.size, np.uint32)
    for person in range(people):
        plays = population.plays(person)
        update = addend(model, layout, plan, shared, plays, device=person)
        total += fixed_point.encode_words(update, device_offsets(plan, layout, plays))
    signed, items = total.view(np.int32).astype(np.int64), len(population.catalogue)
    size = layout["sketch"].size
    listeners = np.rint(signed[size : size + items] / fixed_point.scale("listeners")).astype(np.int64)
    return signed[:size].reshape(items, -1), listeners


def read(sketch: NDArray[np.int64], listeners: NDArray[np.int64]) -> Listeners:
    """Say who played what, from the sum alone; whoever played nothing alone stays hidden."""
    vectors: dict[bytes, int] = {}
    found: Listeners = {}
    for item in np.flatnonzero(listeners == 1):
        found[int(item)] = frozenset({vectors.setdefault(sketch[item].tobytes(), len(vectors))})
    known = np.array([np.frombuffer(one, np.int64) for one in vectors])
    rest = [int(item) for item in np.flatnonzero(listeners > 1)]
    if len(known) <= sketch.shape[1]:
        share = np.rint(np.linalg.lstsq(known.T.astype(float), sketch[rest].T.astype(float), rcond=None)[0].T)
        for item, row in zip(rest, share, strict=True):
            if set(row) <= {0.0, 1.0} and (row @ known == sketch[item]).all():
                found[item] = frozenset(np.flatnonzero(row).tolist())
        return found
    pairs = {
        (known[one] + known[other]).tobytes(): frozenset({one, other})
        for one in range(len(known))
        for other in range(one)
    }
    return found | {item: pairs[key] for item in rest if (key := sketch[item].tobytes()) in pairs}


def main(people: int, items: int) -> None:
    population = generate(people=people, items=items, seed=3)
    found = read(*opened_sum(population, Subspace()))
    played = [frozenset(population.plays(person).items.tolist()) for person in range(people)]
    said: dict[int, set[int]] = {}
    for item, who in found.items():
        for one in who:
            said.setdefault(one, set()).add(item)
    pairs = sum(map(len, played))
    right = sum(max(len(mine & items_said) for mine in played) for items_said in said.values())
    whole = sum(any(mine == items_said for mine in played) for items_said in said.values())
    print(
        f"{people} people, {items:,} items: {right / pairs:.1%} of who played what, and the whole history of {whole}, "
        "from one sum"
    )


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:3]) if len(sys.argv) == 3 else (50, 5000))
