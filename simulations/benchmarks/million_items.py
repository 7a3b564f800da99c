"""One pass over a million devices and a million items, a hundred plays each, by FedMF: seconds and memory.

    python simulations/benchmarks/million_items.py
    python simulations/benchmarks/million_items.py --people 100000 --items 100000

It invents the people in a temporary folder, as columns that are mapped into memory: one item from each hundredth of
the catalogue, all alike, which is the hardest for a processor's cache. What devices keep lies in a file as well. Prints
one JSON object. The limits it is held against, on two cores: three minutes for the pass, 8 GB for the process, and for
the engine 128 bytes a device, 4 bytes an interaction and three item tables.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from fedpersona.aggregation import Coordinator
from fedpersona.catalogue import Catalogue
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.datasets import columnar
from fedpersona.simulation.datasets.columnar.writing import People, new_population
from fedpersona.simulation.engine import silent
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.environment import versions
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import create

TOGETHER = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--plays", type=int, default=100, help="a person; they divide the items")
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made: a disk with some 2 GB free")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedpersona-million-", dir=options.folder) as folder:
        print(json.dumps(measure(options, Path(folder)), indent=2))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    clock = [time.perf_counter()]

    def lap() -> float:
        clock.append(time.perf_counter())
        return round(clock[-1] - clock[-2], 1)

    seconds = {}
    invent(folder / "people", options.people, options.items, options.plays)
    seconds["inventing"] = lap()
    population = columnar.read(folder / "people").train
    seconds["opening, hashes checked"] = lap()
    model = create("fedmf", {"dim": options.dim, "rounds": 1})
    privates = PrivateTable.begin(model, 0, len(population), folder / "privates.npy")
    seconds["beginning what devices keep"] = lap()
    with Watching() as watching:
        engine = make_engine(
            "cohort",
            model,
            population,
            Behaviour(),
            workers=options.workers,
            progress=silent,
            privates=privates,
        )
        coordinator = Coordinator(model, population.catalogue, engine, cohort=options.people, min_count=2, seed=0)
        seconds["initial model"] = lap()
        before = time.process_time()
        report = coordinator.run_round()
        processor = time.process_time() - before
        seconds["pass"] = lap()
    tables = 3 * 4 * options.items * options.dim
    formula = 4 * options.dim * options.people + 4 * population.interactions + tables
    mapped = population.items.nbytes + privates.rows.nbytes
    return {
        "people": options.people,
        "items": options.items,
        "interactions": population.interactions,
        "dim": options.dim,
        "workers": options.workers,
        "engine": engine.description,
        "ring_bits": report.ring_bits,
        "seconds": seconds
        | {"processor seconds of the pass, all threads": round(processor, 1)}
        | {
            "of which collecting": round(report.seconds_collecting, 1),
            "of which applying": round(report.seconds_applying, 1),
        },
        "devices_per_second": round(report.answered / seconds["pass"]),
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "gigabytes": {
            "before the pass": round(watching.before / 1e9, 3),
            "mapped histories and what devices keep": round(mapped / 1e9, 3),
            "added by the engine and the coordinator": round((watching.most - watching.before) / 1e9, 3),
            "formula: 128 a device, 4 an interaction, three item tables": round(formula / 1e9, 3),
        },
        "model_hash": coordinator.shared.hash(),
        "versions": versions(),
    }


def invent(folder: Path, people: int, items: int, plays: int) -> None:
    """Write people who play one item from each of ``plays`` equal parts of the catalogue."""
    width, rest = divmod(items, plays)
    if rest or width < 2:
        raise SystemExit(f"{plays} plays a person do not divide {items:,} items into parts of two or more")
    rng, begins = np.random.default_rng(0), np.arange(plays) * width
    with new_population(folder) as out:
        for begin in range(0, people, TOGETHER):
            numbers = np.arange(begin, min(begin + TOGETHER, people))
            played = (begins + rng.integers(0, width, (len(numbers), plays))).astype(np.int32)
            unplayed = np.where(played[:, :2] + 1 < begins[:2] + width, played[:, :2] + 1, begins[:2])
            columns = {
                "items": played.reshape(-1),
                "person_ids": numbers,
                "val": unplayed[:, 0],
                "test": unplayed[:, 1],
            }
            out.append(People(np.full(len(numbers), plays), columns))
        out.finish("million", Catalogue.create(map(str, range(items))))


class Watching:
    """Looks at the process's own memory, without files that are mapped into it, ten times a second."""

    def __enter__(self) -> Watching:
        self.before = self.most = self._own()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._own())

    @staticmethod
    def _own() -> int:
        info = psutil.Process().memory_info()
        return int(info.rss - getattr(info, "shared", 0))


if __name__ == "__main__":
    main()
