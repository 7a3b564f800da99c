"""Two ways to collect the sum of a round in one process: device by device, and many devices at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.aggregation.coordinator import Collector
from fedpersona.errors import ConfigError, UnknownName
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import shares_at_once
from fedpersona.privacy.rounding import device_offsets
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum
from fedpersona.simulation.population import Population
from fedpersona.simulation.scoring import play_matrix
from fedpersona.simulation.simulated_device import addend
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["CohortEngine", "DeviceEngine", "EngineName", "Progress", "make_engine", "silent"]

EngineName = Literal["cohort", "device"]

Progress = Callable[[int, int], None]
"""Called with (devices done, devices in the round)."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


class DeviceEngine:
    """The readable reference: every device, one after another, through the functions that a phone runs."""

    def __init__(
        self, model: TasteModel, population: Population, behaviour: Behaviour, progress: Progress = silent
    ) -> None:
        self.model = model
        self.population = population
        self.behaviour = behaviour
        self.progress = progress

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Sum the encoded updates of the devices that answer."""
        layout = round_layout(self.model, self.population.catalogue, plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        answering = self.behaviour.answering(plan, len(self.population))
        total = fixed_point.zeros()
        with threadpool_limits(1):  # a device's arithmetic must not depend on how many cores helped
            for done, device in enumerate(answering.tolist(), start=1):
                plays = self.population.plays(device)
                update = addend(self.model, layout, plan, shared, plays, device=device)
                for name, integers in fixed_point.encode_update(update, device_offsets(plan, layout, plays)).items():
                    total[name] += integers
                self.progress(done, len(answering))
        _add_shares(total, fixed_point, len(answering))
        return fixed_point.decode(total), len(answering)


class CohortEngine:
    """The fast form: blocks of devices by sparse matrix products, on threads; every block adds exact integers.

    The result is the same to the bit for any number of workers and any size of the blocks. No form clips whole
    updates: a plan that asks for less than the length that the model states is for :class:`DeviceEngine`.
    """

    def __init__(
        self,
        model: TasteModel,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        workers: int = 2,
        block: int | None = None,
    ) -> None:
        self.population = population
        self.model = model
        self.behaviour = behaviour
        self.progress = progress
        self.workers = workers
        self.form = cohort_form(model)
        self.block = block or self.form.block

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Sum the encoded updates of the devices that answer, a lane of blocks on each worker.

        Raises:
            ConfigError: the plan bounds the length of whole updates, or asks for metrics.
        """
        layout = round_layout(self.model, self.population.catalogue, plan)
        if plan.clip is not None and (layout.length is None or layout.length > plan.clip):
            raise ConfigError("the engine 'cohort' does not clip whole updates: use the engine 'device'")
        if plan.metrics:
            raise ConfigError("the engine 'cohort' does not test models on devices: use the engine 'device'")
        fixed_point = FixedPoint.for_plan(plan, layout)
        answering = self.behaviour.answering(plan, len(self.population))
        blocks = [answering[start : start + self.block] for start in range(0, len(answering), self.block)]
        lanes = [blocks[lane :: self.workers] for lane in range(min(self.workers, len(blocks)))]
        lock, done = Lock(), 0

        def run(lane: list[NDArray[np.int64]]) -> IntegerSum:
            nonlocal done
            partial = fixed_point.zeros()
            for devices in lane:
                plays = play_matrix(self.population, devices)
                encoder = BlockEncoder(fixed_point, plan, plays)
                self.form.add(partial, plays, shared, encoder)
                partial[DEVICES] += len(devices) * encoder.one(DEVICES)
                with lock:
                    done += len(devices)
                    self.progress(done, len(answering))
            return partial

        # One BLAS thread a worker: a row of a product must not depend on which other rows were in its block.
        with threadpool_limits(1), ThreadPoolExecutor(len(lanes)) as pool:
            total, *others = pool.map(run, lanes)
        for other in others:
            for name, partial in other.items():
                total[name] += partial
        _add_shares(total, fixed_point, len(answering))
        return fixed_point.decode(total), len(answering)


def _add_shares(total: IntegerSum, fixed_point: FixedPoint, devices: int) -> None:
    """Add the noise that devices put into their updates, in place; none where none is left to them."""
    if devices:
        for name, noise in shares_at_once(fixed_point, devices).items():
            total[name] += noise


def make_engine(
    name: str, model: TasteModel, population: Population, behaviour: Behaviour, *, workers: int, progress: Progress
) -> Collector:
    """Make an engine by name.

    Raises:
        UnknownName: there is no such engine.
    """
    if name == "cohort":
        return CohortEngine(model, population, behaviour, progress, workers=workers)
    if name == "device":
        return DeviceEngine(model, population, behaviour, progress)
    raise UnknownName("engine", name, get_args(EngineName))
