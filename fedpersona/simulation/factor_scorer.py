"""Scores of factor models for many people at once, with what their devices keep or make of their plays."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.randomness import fingerprints
from fedpersona.simulation.kernel import Histories, Trainer, library
from fedpersona.simulation.population import Population
from fedpersona.taste.gradient import FactorModel, PFedRec
from fedpersona.taste.gradient.model import as_private
from fedpersona.taste.model import Shared

__all__ = ["FactorScorer", "fit"]

_BLOCK = 256
"""People whose own items are held at once."""


def fit(trainer: Trainer, model: FactorModel, shared: Shared, query: csr_array) -> NDArray[np.float32]:
    """Return what people make of their plays alone, a row each: :meth:`FactorModel.personalise` for many.

    Args:
        trainer: for the model's table.
        model: its settings; ``query`` has the weights by its recency.
        shared: the model.
        query: weighted plays, shape (people, items).

    Returns:
        float32 array of shape (people, dim), or (people, dim + 1) where the model has a bias.
    """
    histories, keys = _histories(query), _keys(query)
    plays = np.diff(histories.indptr)
    sums = np.bincount(np.repeat(np.arange(len(plays)), plays), query.data, minlength=len(plays))
    mean = sums / np.maximum(plays, 1)
    weights = (query.data / np.repeat(mean, plays)).astype(np.float32)
    recipe = model.fitting
    rows = np.zeros((len(plays), model.dim + recipe.bias), np.float32)
    weighted = Histories(histories.indptr, histories.items, weights=weights)
    trainer.train(recipe, shared["items"], weighted, keys, rows)
    return rows if model.biased == recipe.bias else rows[:, : model.dim]


class FactorScorer:
    """A trained factor model that scores people whom it knows by position.

    Args:
        model: its settings.
        shared: what was learned.
        population: the people.
        people: positions of those who can be scored, increasing.
        kept: what these people's devices keep, a row each; None where the model remembers nothing.
        workers: threads.
    """

    def __init__(
        self,
        model: FactorModel,
        shared: Shared,
        population: Population,
        people: NDArray[np.int64],
        kept: NDArray[np.float32] | None,
        *,
        workers: int = 2,
    ) -> None:
        self.model, self.shared, self.population, self.people, self.kept = model, shared, population, people, kept
        self.workers = workers
        self.listeners = np.zeros(len(shared["items"]), np.float32)

    @cached_property
    def _trainer(self) -> Trainer | None:
        opened = library()
        return None if opened is None else Trainer(opened, *self.shared["items"].shape, workers=self.workers)

    def scores_for(self, people: NDArray[np.int64], query: csr_array, half_life: float | None) -> NDArray[np.float32]:
        """Return scores (people, items): by what devices keep, or by what they make of weighted plays."""
        if self._trainer is None:
            return self._one_by_one(people, half_life)
        if self.kept is None or half_life is not None:
            rows = fit(self._trainer, self.model, self.shared, query)
        else:
            rows = np.ascontiguousarray(self.kept[np.searchsorted(self.people, people)])
        if isinstance(self.model, PFedRec):
            return self._by_own_items(self._trainer, rows, query)
        return rows[:, : self.model.dim] @ self.shared["items"].T

    def _by_own_items(self, trainer: Trainer, rows: NDArray[np.float32], query: csr_array) -> NDArray[np.float32]:
        """Return scores by the items as each device fits them to its owner: :meth:`PFedRec.scores` for many."""
        items, dim = self.shared["items"], self.model.dim
        scores = np.empty((len(rows), len(items)), np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = query[start : start + _BLOCK]
            own = np.ascontiguousarray(rows[start : start + _BLOCK])
            moved = trainer.train(self.model.recipe, items, _histories(part), _keys(part), own, moved=True)
            np.matmul(own[:, :dim], items.T, out=scores[start : start + _BLOCK])
            if moved is None:
                continue
            for device in range(len(own)):
                touched, vectors = moved.of(device)
                scores[start + device, touched] = vectors @ own[device, :dim]
        return scores

    def _one_by_one(self, people: NDArray[np.int64], half_life: float | None) -> NDArray[np.float32]:
        """Return scores by the functions that a phone runs."""
        rows = []
        for person in people.tolist():
            plays = self.population.plays(person)
            if self.kept is None or half_life is not None:
                private = self.model.model_copy(update={"recency": half_life}).personalise(self.shared, plays)
            else:
                place = int(np.searchsorted(self.people, person))
                private = as_private(self.kept[place], self.model.private_shapes())
            rows.append(self.model.scores(self.shared, private, plays))
        return np.asarray(rows, np.float32)


def _histories(query: csr_array) -> Histories:
    return Histories(query.indptr.astype(np.int64), np.ascontiguousarray(query.indices, np.int32))


def _keys(query: csr_array) -> NDArray[np.uint64]:
    return fingerprints(query.indices, query.indptr, query.shape[1])
