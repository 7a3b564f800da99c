"""Seconds of full-ranking evaluation: everyone's held-out item among all items, by a factor model of 32 numbers.

    python simulations/benchmarks/evaluation.py
    python simulations/benchmarks/evaluation.py --people 20000
    python simulations/benchmarks/evaluation.py --json figures.json

Measured are the bare product of people and items in float32, NDCG@10 alone, which settings are chosen by, and all that
`evaluate` gives: metrics, bootstrap intervals, lists of 30 with what they are like, and tertiles. People are invented,
with 100 plays each; every figure is the least of several. The limit it is held against: 1,000 people and 50,000 items
in less than a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.environment import versions
from fedpersona.simulation.evaluation import evaluate, quick_ndcg
from fedpersona.simulation.population import Population, Split

DIM, PLAYS = 32, 100
BLOCK = 256
"""People whose scores the bare product makes at once."""


def invent(people: int, items: int) -> Split:
    """Invent histories without any taste: evaluation takes as long as with one."""
    rng = np.random.default_rng(0)
    width = items // (PLAYS + 2)
    # One item out of each of so many stretches of the catalogue: increasing, and nothing twice.
    rows = (np.arange(PLAYS + 2) * width + rng.integers(0, width, (people, PLAYS + 2))).astype(np.int32)
    order = rng.permuted(np.tile(np.arange(PLAYS + 2), (people, 1)), axis=1)
    everyone = np.arange(people)
    played = np.ones(rows.shape, bool)
    played[everyone[:, None], order[:, :2]] = False
    return Split(
        train=Population(
            name="invented",
            catalogue=Catalogue.create(str(row) for row in range(items)),
            indptr=np.arange(people + 1, dtype=np.int64) * PLAYS,
            items=rows[played],
            weights=np.ones(people * PLAYS, np.float32),
            times=None,
            person_ids=everyone,
        ),
        val=rows[everyone, order[:, 0]],
        test=rows[everyone, order[:, 1]],
    )


def least_seconds(work: Callable[[], object], repeats: int, what: str) -> dict[str, float]:
    """Return the least time on the clock and the least of the processor, over all cores."""
    walls, processors = [], []
    for repeat in range(1, repeats + 1):
        print(f"{what}: {repeat} of {repeats}", file=sys.stderr, flush=True)
        wall, processor = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return {"clock": round(min(walls), 3), "processor": round(min(processors), 3)}


def measure(people: int, items: int, repeats: int) -> dict[str, object]:
    split = invent(people, items)
    rng = np.random.default_rng(1)
    persons = rng.standard_normal((people, DIM), dtype=np.float32)
    table = rng.standard_normal((items, DIM), dtype=np.float32)

    def scorer(members: NDArray[np.int64]) -> NDArray[np.float32]:
        return persons[members] @ table.T

    def product() -> None:
        for first in range(0, people, BLOCK):
            scorer(np.arange(first, min(first + BLOCK, people)))

    return {
        "people": people,
        "items": items,
        "dim": DIM,
        "seconds": {
            "bare product": least_seconds(product, repeats, "bare product"),
            "NDCG@10 alone": least_seconds(lambda: quick_ndcg(split, scorer, on="test"), repeats, "NDCG@10 alone"),
            "all figures": least_seconds(lambda: evaluate(split, scorer, on="test"), repeats, "all figures"),
        },
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    if options.people < 3 or options.repeats < 1:
        parser.error("at least three people are measured, at least once")
    if options.items < 10 * (PLAYS + 2):
        parser.error(f"histories of {PLAYS} need a catalogue of at least {10 * (PLAYS + 2):,} items")
    figures = json.dumps(measure(options.people, options.items, options.repeats), indent=2)
    print(figures)
    if options.json:
        options.json.write_text(figures + "\n")


if __name__ == "__main__":
    main()
