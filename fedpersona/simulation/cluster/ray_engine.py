"""A population cut into shards over Ray workers: partial sums of integers are added up here.

A worker has no state. It gets its shard, the round and what the answering devices keep, and gives back a sum and what
they keep then; nothing is taken over before all shards of a round are there. So a worker that dies costs time only:
Ray starts another, the shard is run again, and nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, FedpersonaError, RoundFailed
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cluster.session import Session
from fedpersona.simulation.cluster.shard import ModelFacts, Outline, Refused, Stored, cut, run_shard, unpack
from fedpersona.simulation.cohort.form import IntegerSum
from fedpersona.simulation.datasets.columnar import version as stored_version
from fedpersona.simulation.engine import Engine, Progress, silent
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.plan import Plan

__all__ = ["RayEngine"]

_RETRIES = 5
"""How often a shard is run again whose worker died."""
_SHARDS_A_WORKER = 4
"""Small pieces are lost by a dead worker, and show progress; each costs its sum on the way back."""
_LARGE_SUM = 4_000_000
"""Entries of a sum above which a worker gets one shard only."""


class RayEngine(Engine):
    """Each Ray worker runs the fast engine on shards of the population; the result is one machine's to the bit.

    On a cluster of several machines each needs fedpersona in the same version, and where the population lies in a
    folder, that folder under the same path; a population in memory is sent to the cluster once.

    Args:
        model: the taste model.
        population: the people.
        behaviour: who can be reached, and who leaves.
        progress: hears how many devices are done, a shard at a time.
        privates: what each person keeps, where the model remembers; it stays in this process.
        workers: tasks at once on a cluster that is started here.
        address: of a running cluster: ``auto``, ``host:port`` or ``ray://host:port``; None starts one here.
        shards: into how many the people are cut; chosen by itself where it is None.

    Raises:
        ConfigError: Ray is not installed, no cluster answers, or there are no shards.
    """

    def __init__(
        self,
        model: TasteModel,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        privates: PrivateTable | None = None,
        workers: int = 2,
        address: str | None = None,
        shards: int | None = None,
    ) -> None:
        super().__init__(model, population, behaviour, progress, privates=privates)
        if shards is not None and shards < 1:
            raise ConfigError(f"the people are cut into one shard or more, not into {shards}")
        width = model.layout(population.catalogue, 1).size
        session = Session(address, workers=workers, store_bytes=self._store_bytes(width, workers))
        self._session = session
        self._ray = session.ray
        self._run = self._ray.remote(num_cpus=1, max_retries=_RETRIES)(run_shard)
        self._facts = ModelFacts.of(model)
        if shards is None:
            at_once = int(self._ray.cluster_resources().get("CPU", 1)) if session.remote else workers
            shards = max(1, at_once) * (1 if width > _LARGE_SUM else _SHARDS_A_WORKER)
        self.bounds = cut(population, shards)
        place = "a running cluster" if session.remote else f"{workers} worker{'s' * (workers != 1)} of this machine"
        self.description = f"Ray, {len(self.bounds)} shard{'s' * (len(self.bounds) != 1)} on {place}"
        self._shards = [self._ray.put(shard) for shard in self._cut_up()]

    def close(self) -> None:
        """End what was started here; it ends by itself when the engine is no longer used."""
        self._session.close()

    def _store_bytes(self, width: int, workers: int) -> int:
        """Return what lies in the object store at once, at most: people, models, sums, what devices keep."""
        population = self.population
        people = 24 * len(population) + (16 * population.interactions if population.folder is None else 0)
        kept = 0 if self.privates is None else 3 * self.privates.rows.nbytes
        return int(1.2 * (people + kept + 8 * width * (workers + 2))) + (64 << 20)

    def _cut_up(self) -> Iterator[Population | Stored]:
        population, outline = self.population, Outline(self.population.catalogue)
        for begin, end in self.bounds:
            if population.folder is not None:
                yield Stored(Path(population.folder).absolute(), outline, begin, end, stored_version(population.folder))
            else:
                yield population.between(begin, end, outline)

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Run the shards that have answering devices, and add what they sum to.

        Raises:
            ConfigError: the fast engine cannot do what the plan asks.
            RoundFailed: workers died again and again; nothing that devices keep has changed.
        """
        model = self._ray.put(replace(shared, kept={}))
        running: dict[Any, NDArray[np.int64]] = {}
        try:
            for place, (begin, end) in enumerate(self.bounds):
                some = devices[np.searchsorted(devices, begin) : np.searchsorted(devices, end)]
                if len(some):
                    kept = None if self.privates is None else self.privates.take(some)
                    task = self._run.remote(
                        self._facts, self._shards[place], plan, model, fixed_point, some, begin, kept
                    )
                    running[task] = some
            self._gather(running, total, plan, len(devices))
        finally:
            for task in running:  # what is left after Ctrl-C or a failure
                self._ray.cancel(task, force=True)

    def _gather(self, running: dict[Any, NDArray[np.int64]], total: IntegerSum, plan: Plan, devices: int) -> None:
        kept: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        done = 0
        while running:
            (task, *_), _ = self._ray.wait(list(running), num_returns=1)
            answer = self._answer(task, plan)
            some = running.pop(task)
            unpack(answer.sums, total)
            if answer.kept is not None:
                kept.append((some, answer.kept))
            done += len(some)
            self.progress(done, devices)
        if self.privates is not None:
            for some, rows in kept:
                self.privates.put(some, rows)

    def _answer(self, task: Any, plan: Plan) -> Any:
        try:
            answer = self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, FedpersonaError):
                raise ConfigError(str(error.cause)) from None
            raise
        except self._ray.exceptions.RayError as error:
            first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise RoundFailed(
                f"round {plan.round_number}: a shard was lost with its workers, {_RETRIES + 1} times ({first}); "
                "nothing was released. Give workers more memory, or cut the people into more shards."
            ) from None
        if isinstance(answer, Refused):
            raise ConfigError(answer.why)
        return answer
