"""One whole subspace round over a million invented people and 50,000 tracks: seconds and peak memory.

    python simulations/benchmarks/million.py
    python simulations/benchmarks/million.py --people 100000 --items 20000

Prints one JSON object. The limit it is held against: the process stays within 8 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

from fedpersona.aggregation import Coordinator
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import CohortEngine
from fedpersona.simulation.environment import versions
from fedpersona.simulation.synthetic import generate
from fedpersona.taste import Subspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    started = time.perf_counter()
    population = generate(people=options.people, items=options.items, seed=0)
    generated = time.perf_counter()

    model = Subspace(dim=options.dim, rounds=1)
    engine = CohortEngine(model, population, Behaviour(), workers=options.workers)
    coordinator = Coordinator(model, population.catalogue, engine, cohort=len(population), min_count=1000, seed=0)
    prepared = time.perf_counter()
    report = coordinator.run_round()
    finished = time.perf_counter()
    print(
        json.dumps(
            {
                "people": len(population),
                "items": options.items,
                "interactions": population.interactions,
                "dim": options.dim,
                "workers": options.workers,
                "ring_bits": report.ring_bits,
                "seconds": {
                    "inventing": round(generated - started, 1),
                    "initial model": round(prepared - generated, 1),
                    "round": round(finished - prepared, 1),
                    "of which collecting": round(report.seconds_collecting, 1),
                    "of which applying": round(report.seconds_applying, 1),
                },
                "devices_per_second": round(report.answered / (finished - prepared)),
                "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "model_hash": coordinator.shared.hash(),
                "versions": versions(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
