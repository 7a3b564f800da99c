"""Ways to collect the sum of a round in one process: device by device, and many devices at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import shares_at_once
from fedpersona.privacy.rounding import device_offsets
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.scoring import play_matrix
from fedpersona.simulation.simulated_device import addend
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.taste.gradient import GradientModel
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["CohortEngine", "DeviceEngine", "Engine", "Progress", "silent"]

Progress = Callable[[int, int], None]
"""Called with (devices done, devices in the round)."""


def silent(done: int, total: int) -> None:
    """Report nothing."""


class Engine(ABC):
    """Sums the encoded updates of devices: all that answer a plan, or those of a shard.

    A sum is one of integers: whatever the order in which devices come, it is the same to the bit. What a device adds is
    the same whichever others are there, but for modules of torch (:mod:`fedpersona.simulation.neural`), to rounding.

    Args:
        model: the taste model.
        population: the people; device ``first + p`` is person ``p``.
        behaviour: who can be reached, and who leaves.
        progress: hears how many devices are done.
        privates: what each person keeps, where the model remembers; a row each.
        first: number of the first person, where these are a shard of more.
    """

    description: str = ""
    """How it sums, in a few words for a report."""

    def __init__(
        self,
        model: TasteModel,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        privates: PrivateTable | None = None,
        first: int = 0,
    ) -> None:
        self.model = model
        self.population = population
        self.behaviour = behaviour
        self.progress = progress
        self.first = first
        if privates is None and isinstance(model, GradientModel) and model.remembers:
            raise ConfigError(f"{model.name} remembers: an engine needs the table of what devices keep")
        self.privates = privates

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Sum the encoded updates of the devices that answer.

        Raises:
            CohortTooSmall: fewer answer than the plan says.
        """
        layout = round_layout(self.model, self.population.catalogue, plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        answering = self.behaviour.answering(plan, len(self.population))
        total = fixed_point.zeros()
        self.add(total, plan, shared, fixed_point, answering)
        if len(answering):  # the noise that devices put into their updates; none where none is left to them
            for name, noise in shares_at_once(fixed_point, len(answering)).items():
                total[name] += noise
        return fixed_point.decode(total, in_place=True), len(answering)

    @abstractmethod
    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add the encoded updates of these devices to ``total``, in place, and keep what they remember.

        Raises:
            ConfigError: the engine cannot do what the plan asks.
        """


class DeviceEngine(Engine):
    """The readable reference: every device, one after another, through the functions that a phone runs."""

    description = "the reference, one device after another"

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add one device after another."""
        layout = fixed_point.layout
        with threadpool_limits(1):  # a device's arithmetic must not depend on how many cores helped
            for done, device in enumerate(devices.tolist(), start=1):
                person = device - self.first
                plays = self.population.plays(person)
                update = addend(
                    self.model, layout, plan, shared, plays, device=device, privates=self.privates, person=person
                )
                for name, integers in fixed_point.encode_update(update, device_offsets(plan, layout, plays)).items():
                    total[name] += integers
                self.progress(done, len(devices))


class CohortEngine(Engine):
    """The fast form of closed models: blocks of devices by sparse matrix products, on threads.

    The result is the same to the bit for any number of workers and any size of the blocks. No form clips whole
    updates: a plan that asks for less than the length that the model states is for :class:`DeviceEngine`.
    """

    description = "blocks of devices by sparse products"

    def __init__(
        self,
        model: TasteModel,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        workers: int = 2,
        block: int | None = None,
        first: int = 0,
    ) -> None:
        super().__init__(model, population, behaviour, progress, first=first)
        self.workers = workers
        self.form = cohort_form(model)
        self.block = block or self.form.block

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add a lane of blocks on each worker.

        Raises:
            ConfigError: the plan bounds the length of whole updates, or asks for metrics.
        """
        layout = fixed_point.layout
        if plan.clip is not None and (layout.length is None or layout.length > plan.clip):
            raise ConfigError("the engine 'cohort' does not clip whole updates: use the engine 'device'")
        if plan.metrics:
            raise ConfigError("the engine 'cohort' does not test models on devices: use the engine 'device'")
        blocks = [devices[start : start + self.block] for start in range(0, len(devices), self.block)]
        lanes = [blocks[lane :: self.workers] for lane in range(min(self.workers, len(blocks)))]
        lock, done = Lock(), 0

        def run(lane: list[NDArray[np.int64]]) -> IntegerSum:
            nonlocal done
            partial = fixed_point.zeros()
            for members in lane:
                plays = play_matrix(self.population, members - self.first)
                encoder = BlockEncoder(fixed_point, plan, plays)
                self.form.add(partial, plays, shared, encoder)
                partial[DEVICES] += len(members) * encoder.one(DEVICES)
                with lock:
                    done += len(members)
                    self.progress(done, len(devices))
            return partial

        # One BLAS thread a worker: a row of a product must not depend on which other rows were in its block.
        with threadpool_limits(1), ThreadPoolExecutor(max(1, len(lanes))) as pool:
            for partial in pool.map(run, lanes):
                for name, integers in partial.items():
                    total[name] += integers
