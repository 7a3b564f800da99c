"""Factor models for many devices at once: by the compiled kernel where it was built, else device by device."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import rounding_key
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort.form import IntegerSum
from fedpersona.simulation.engine import DeviceEngine, Engine, Progress, silent
from fedpersona.simulation.factor_scorer import FactorScorer, fit
from fedpersona.simulation.kernel import Histories, Library, Summing, Trainer, absence, library
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.scoring import query_matrix
from fedpersona.simulation.simulated_device import training_keys
from fedpersona.taste.counters import DEVICES
from fedpersona.taste.gradient import FactorModel
from fedpersona.taste.model import Shared
from fedpersona.wire.plan import Plan

__all__ = ["FactorEngine", "FactorScorer"]


class FactorEngine(Engine):
    """The fast form of factor models: devices by the compiled kernel, on threads.

    It draws the samples that :class:`DeviceEngine` draws, and computes in float32 what that does in float64. The result
    is the same to the bit for any number of workers, any shards and every processor. Where the kernel was not built,
    the reference runs in its place, and :attr:`description` says so.
    """

    sends_model = False
    """Devices work on the model's own arrays: see :class:`fedpersona.aggregation.Collector`."""

    def __init__(
        self,
        model: FactorModel,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        privates: PrivateTable | None = None,
        first: int = 0,
        workers: int = 2,
    ) -> None:
        super().__init__(model, population, behaviour, progress, privates=privates, first=first)
        self.factors = model
        self.workers = workers
        self._kernel = _Kernel(library(), workers)
        kernel = self._kernel.library
        self.description = (
            f"the reference, one device after another: {absence()}"
            if kernel is None
            else f"the compiled kernel ({kernel.description}), {workers} thread{'s' * (workers != 1)}"
        )

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add the devices; what they keep is replaced when all have been added.

        Raises:
            ConfigError: the plan asks for metrics, or the kernel cannot hold the catalogue or a device's samples.
            BoundExceeded: an update has an entry above its bound.
        """
        if plan.metrics:
            raise ConfigError("the engine 'cohort' does not test models on devices: use the engine 'device'")
        if self._kernel.library is None:
            reference = DeviceEngine(
                self.model, self.population, self.behaviour, self.progress, privates=self.privates, first=self.first
            )
            reference.add(total, plan, shared, fixed_point, devices)
            return
        people = devices - self.first
        trainer = self._kernel.trainer(*shared["items"].shape)
        rows = self._privates(trainer, shared, people)
        partial = self._kernel.empty_sum(total["items"], fixed_point)
        try:
            trainer.train(
                self.factors.recipe,
                shared["items"],
                Histories(self.population.indptr, self.population.items, people),
                training_keys(plan, devices),
                rows,
                summing=_summing(partial, plan, fixed_point, self.factors.longest),
                progress=self.progress,
            )
            if fixed_point.ring_bits == 32:
                trainer.drain(total["items"], partial.astype(np.int32, copy=False))
        except BaseException:
            self._kernel.forget_sum()
            raise
        if self.privates is not None and self.factors.remembers and rows is not None:
            self.privates.put(people, rows)
        total[DEVICES] += len(devices) * np.int64(fixed_point.scale(DEVICES))  # each counts 1.0

    def _privates(self, trainer: Trainer, shared: Shared, people: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Return what devices begin with: what they kept, or make of their plays; None where it is nothing."""
        if self.privates is not None and self.factors.remembers:
            return self.privates.take(people)
        if self.factors.recipe.order == "rebuild":
            return None
        half_life = self.factors.recency
        return fit(trainer, self.factors, shared, query_matrix(self.population, people, half_life))


def _summing(
    partial: NDArray[np.int32] | NDArray[np.int64], plan: Plan, fixed_point: FixedPoint, longest: float
) -> Summing:
    spec = fixed_point.layout["items"]
    return Summing(
        total=partial,
        longest=longest,
        clip=math.inf if plan.clip is None else plan.clip,
        measure=spec.measure,
        bound=spec.bound,
        scale=fixed_point.scale("items"),
        rounding_key=rounding_key(plan, "items"),
        toward_zero=fixed_point.toward_zero,
    )


class _Kernel:
    """Threads, their memory and an empty sum of 32 bits, kept from round to round."""

    def __init__(self, opened: Library | None, workers: int) -> None:
        self.library = opened
        self._workers = workers
        self._trainer: Trainer | None = None
        self._sum: NDArray[np.int32] | None = None

    def trainer(self, n_items: int, dim: int) -> Trainer:
        """Return what trains on a table of this size."""
        if self.library is None:
            raise ConfigError(absence())
        if self._trainer is None or (self._trainer.n_items, self._trainer.dim) != (n_items, dim):
            self._trainer = Trainer(self.library, n_items, dim, workers=self._workers)
        return self._trainer

    def empty_sum(self, total: NDArray[np.int64], fixed_point: FixedPoint) -> NDArray[np.int32] | NDArray[np.int64]:
        """Return what devices add to: sums modulo 2^32 are exact in 32 bits, at half the memory to go through."""
        if fixed_point.ring_bits == 64:
            return total
        if self._sum is None or self._sum.shape != total.shape:
            self._sum = np.empty(total.shape, np.int32)  # not zeros: numpy asks for large pages here
            self._sum[:] = 0
        return self._sum

    def forget_sum(self) -> None:
        """Forget a sum that was broken off."""
        self._sum = None
