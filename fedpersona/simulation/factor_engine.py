"""Factor models for many devices at once: by the compiled kernel where it was built, else device by device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.plays import Plays
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort.form import IntegerSum
from fedpersona.simulation.engine import DeviceEngine, Progress, silent
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste.gradient import FactorModel
from fedpersona.taste.gradient.model import as_private
from fedpersona.taste.model import Shared
from fedpersona.wire.plan import Plan

__all__ = ["FactorEngine", "FactorScorer"]


class FactorEngine(DeviceEngine):
    """TO BE REPLACED by the compiled form; the interface stays."""

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
        self.workers = workers

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add the devices."""
        super().add(total, plan, shared, fixed_point, devices)


class FactorScorer:
    """TO BE REPLACED by a form for many people at once; the interface stays."""

    def __init__(
        self,
        model: FactorModel,
        shared: Shared,
        population: Population,
        people: NDArray[np.int64],
        kept: NDArray[np.float32] | None,
    ) -> None:
        self.model, self.shared, self.population, self.people, self.kept = model, shared, population, people, kept
        self.listeners = np.zeros(len(shared["items"]), np.float32)

    def scores_for(self, people: NDArray[np.int64], query: csr_array, half_life: float | None) -> NDArray[np.float32]:
        """Return scores (people, items)."""
        rows = []
        for person in people.tolist():
            plays: Plays = self.population.plays(person)
            if self.kept is None or half_life is not None:
                private = self.model.model_copy(update={"recency": half_life}).personalise(self.shared, plays)
            else:
                place = int(np.searchsorted(self.people, person))
                private = as_private(self.kept[place], self.model.private_shapes())
            rows.append(self.model.scores(self.shared, private, plays))
        return np.asarray(rows, np.float32)
