"""The engine for factor models on one thread and on two, and the memory that it takes.

    python simulations/benchmarks/threads.py --workload W --data ml-100k.inter
    python simulations/benchmarks/threads.py --workload W W2 --threads 1 2 4

The workloads are those of ``speed.py``: ``peers/workload.py``. Each number of threads runs in a process of its own, in
turn, as often as ``--repeats`` says; figures are medians of whole rounds, as in ``speed.py``. Beside them stands what
the engine alone does, which is what more threads can shorten: the coordinator's own work is on one.

Memory is the most that a process had in its rounds beyond what it had before the histories were loaded, so all that a
simulation holds is in it, the catalogue of items apart; beside it the limit that it is held against: 128 bytes a
device, 4 bytes an interaction and 3 item tables. On W it tells little: a few megabytes are code that the rounds load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from peers import workload
from peers.child import Task, environment
from peers.table import processor

HERE = Path(__file__).resolve().parent
SETTLE = 2
"""Rounds before those that count."""


@dataclass(frozen=True)
class Run:
    """What one process measured."""

    round_speed: float
    """Devices a second, median of whole rounds."""
    engine_speed: float
    """Devices a second of the engine alone."""
    bytes: int | None
    """Most memory; None where the system does not tell."""
    limit: int


def resident(key: str) -> int:
    """Return bytes of memory in use (``VmRSS``) or the most there were since the mark (``VmHWM``); Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {key}")


def run_rounds(task: Task) -> Run:
    """Run rounds in this process."""
    from peers.fedpersona_rounds import federation, population_of

    linux = Path("/proc/self/clear_refs").exists()
    before = resident("VmRSS") if linux else 0
    loaded = workload.load(task.workload, Path(task.data) if task.data else None, Path(task.cache), task.cohort)
    apart = -resident("VmRSS") if linux else 0
    population = population_of(loaded)
    apart += resident("VmRSS") if linux else 0
    coordinator, privates = federation(task, loaded, population)
    seconds: list[float] = []
    collecting: list[float] = []
    while len(seconds) < SETTLE + task.rounds or sum(seconds[SETTLE:]) < task.least_seconds:
        if len(seconds) == SETTLE and linux:
            Path("/proc/self/clear_refs").write_text("5")  # the most there was begins anew
        started = time.perf_counter()
        collecting.append(coordinator.run_round().seconds_collecting)
        seconds.append(time.perf_counter() - started)
    return Run(
        round_speed=task.cohort / median(seconds[SETTLE:]),
        engine_speed=task.cohort / median(collecting[SETTLE:]),
        bytes=resident("VmHWM") - before - max(apart, 0) if linux else None,
        limit=128 * len(privates.rows) + 4 * loaded.indices.size + 3 * coordinator.shared["items"].nbytes,
    )


def in_a_process(task: Task) -> Run:
    command = [sys.executable, str(Path(__file__).resolve()), "--run", task.text()]
    done = subprocess.run(command, env=os.environ | environment(), capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise SystemExit(f"threads.py: rounds of {task.workload} failed:\n{done.stderr[-2000:]}")
    return Run(**json.loads(done.stdout))


def measure(name: str, options: argparse.Namespace, cache: Path) -> list[dict[str, object]]:
    """Return a row for each number of threads."""
    data = workload.load(name, options.data, cache)  # where it is missing, or has to be invented: here, once
    runs: dict[int, list[Run]] = {threads: [] for threads in options.threads}
    for repeat in range(1, options.repeats + 1):
        for threads in options.threads:
            task = Task(
                workload=name,
                data=str(options.data.resolve()) if options.data else "",
                cache=str(cache),
                folder="",
                cohort=data.cohort,
                epochs=options.epochs,
                rounds=10,
                seed=repeat,
                core=-1,
                threads=threads,
                least_seconds=options.seconds,
            )
            runs[threads].append(in_a_process(task))
            print(
                f"{name}, {threads} threads, {repeat} of {options.repeats}: "
                f"{runs[threads][-1].round_speed:,.0f} devices a second",
                file=sys.stderr,
                flush=True,
            )
    return [row(name, options.epochs, threads, found, runs[options.threads[0]]) for threads, found in runs.items()]


def row(name: str, epochs: int, threads: int, found: Sequence[Run], first: Sequence[Run]) -> dict[str, object]:
    """Return the figures of a number of threads beside those of the first one asked for."""
    whole, engine = median(run.round_speed for run in found), median(run.engine_speed for run in found)
    memory = [run.bytes for run in found if run.bytes is not None]
    return {
        "workload": name,
        "epochs": epochs,
        "threads": threads,
        "devices_per_second": round(whole),
        "times": round(whole / median(run.round_speed for run in first), 2),
        "engine_devices_per_second": round(engine),
        "engine_times": round(engine / median(run.engine_speed for run in first), 2),
        "megabytes": round(max(memory) / 1e6, 1) if memory else None,
        "limit_megabytes": round(found[0].limit / 1e6, 1),
    }


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--workload", nargs="+", choices=workload.NAMES, default=["W"])
    made.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    made.add_argument("--epochs", type=int, default=1)
    made.add_argument("--data", type=Path, help="of W: ml-100k.inter, the wheel with it, or a split of it as .npz")
    made.add_argument("--cache", type=Path, help="folder to keep the people of W2 in; else they are invented again")
    made.add_argument("--seconds", type=float, default=3.0, help="rounds of a process go on until they took so long")
    made.add_argument("--repeats", type=int, default=3, help="processes of each number of threads")
    made.add_argument("--json", type=Path, help="write the figures to this file as well")
    made.add_argument("--run", help=argparse.SUPPRESS)
    return made


def main() -> None:
    made = parser()
    options = made.parse_args()
    if options.run:
        print(json.dumps(asdict(run_rounds(Task(**json.loads(options.run))))))
        return
    if min(*options.threads, options.epochs, options.repeats) < 1 or options.seconds < 0:
        made.error("--threads, --epochs and --repeats are at least 1, --seconds at least 0")
    with tempfile.TemporaryDirectory(prefix="fedpersona-threads-") as folder:
        try:
            cache = options.cache.resolve() if options.cache else Path(folder)
            rows = [figures for name in options.workload for figures in measure(name, options, cache)]
        except workload.NoData as missing:
            raise SystemExit(f"threads.py: {missing}") from missing
    text = json.dumps({"processor": processor(), "cores": os.cpu_count(), "rows": rows}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
