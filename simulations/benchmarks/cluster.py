"""The same rounds in one process and over Ray workers on this machine: seconds, and that no bit differs.

    python simulations/benchmarks/cluster.py
    python simulations/benchmarks/cluster.py --people 1000000 --model subspace

Prints one JSON object. A cluster has to be started and the people sent to it once; after that, a round costs what one
machine's does plus the way of the model to the workers and of the sums back. It exits with 1 where a bit differs.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

from fedpersona.aggregation import Coordinator
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import silent
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.environment import versions
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.synthetic import generate
from fedpersona.taste import GradientModel, create


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--model", default="fedmf")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cohort", type=int, help="by default everyone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--cluster", help="address of a running cluster; by default one is started here")
    options = parser.parse_args()

    population = generate(people=options.people, items=options.items, seed=0)
    runs = {
        "one process": run(options, population, "cohort", {}),
        "ray": run(options, population, "ray", {"cluster": options.cluster, "shards": options.shards}),
    }
    same = len({str(found.pop("model_hash")) for found in runs.values()}) == 1
    print(
        json.dumps(
            {
                "people": options.people,
                "items": options.items,
                "interactions": population.interactions,
                "model": options.model,
                "workers": options.workers,
                "same to the bit": same,
                **runs,
                "peak_gigabytes_of_this_process": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "versions": versions(),
            },
            indent=2,
        )
    )
    raise SystemExit(0 if same else 1)


def run(
    options: argparse.Namespace, population: Population, name: str, where: dict[str, str | int | None]
) -> dict[str, object]:
    model = create(options.model, {"rounds": options.rounds})
    privates = None
    if isinstance(model, GradientModel) and model.remembers:
        privates = PrivateTable.begin(model, 0, len(population))
    started = time.perf_counter()
    engine = make_engine(
        name,
        model,
        population,
        Behaviour(),
        workers=options.workers,
        progress=silent,
        privates=privates,
        cluster=where.get("cluster"),
        shards=where.get("shards"),
    )
    ready = time.perf_counter()
    cohort = options.cohort or len(population)
    coordinator = Coordinator(model, population.catalogue, engine, cohort=cohort, min_count=2, seed=0)
    rounds, answered = [], 0
    for _ in range(model.planned_rounds(population.catalogue)):
        began = time.perf_counter()
        answered += coordinator.run_round().answered
        rounds.append(round(time.perf_counter() - began, 2))
    return {
        "seconds to start": round(ready - started, 2),
        "seconds of rounds": rounds,
        "devices_per_second": round(answered / sum(rounds)),
        "model_hash": coordinator.shared.hash(),
    }


if __name__ == "__main__":
    main()
