"""What an engine's own process is told, and what it hands back: one core, one thread, one folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peers.workload import Workload, load

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """One process's work. It goes to the process as JSON, its only argument."""

    workload: str
    data: str
    cache: str
    folder: str
    """Where results go."""
    cohort: int
    epochs: int
    rounds: int
    seed: int = 1
    variant: str = ""
    """Of an engine that can be run in several ways, which."""
    core: int = 0
    """Of the cores that the process may use, which; -1 leaves it all."""
    threads: int = 1
    least_seconds: float = 0.0
    """Further rounds are run until they have taken so long."""
    keep: bool = False
    """Whether what was learned is handed back."""

    def text(self) -> str:
        return json.dumps(asdict(self))


def begin() -> tuple[Task, Workload]:
    """Return what this process was told, and its workload; keep to one core from here on.

    Called before numerical packages start their threads.
    """
    task = Task(**json.loads(sys.argv[1]))
    if task.core >= 0 and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[task.core % len(cores)]})
    return task, load(task.workload, Path(task.data) if task.data else None, Path(task.cache), task.cohort)


def environment() -> dict[str, str]:
    """Return what the environment of such a process adds: one thread, and nothing sent to anyone."""
    return dict.fromkeys(_ONE_THREAD, "1") | {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONUNBUFFERED": "1",
    }


def finish(
    task: Task,
    seconds: Sequence[float],
    packages: Sequence[str],
    *,
    items: NDArray[np.float32] | None = None,
    people: NDArray[np.float32] | None = None,
    **more: float | str,
) -> None:
    """Hand back the seconds of each round, versions of packages, and what was learned, where it is asked for."""
    folder = Path(task.folder)
    if task.keep and items is not None and people is not None:
        np.savez(folder / "learned.npz", items=items, people=people)
    found = {name: number for name in packages if (number := _installed(name))}
    (folder / "result.json").write_text(json.dumps({"seconds": list(seconds), "versions": found, **more}))


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
