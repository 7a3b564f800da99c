"""Which central models a run is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from fedpersona.randomness import generator
from fedpersona.simulation.central.ease import central_ease
from fedpersona.simulation.central.ials import central_ials
from fedpersona.simulation.central.item_knn import central_item_knn
from fedpersona.simulation.central.subspace import central_subspace
from fedpersona.simulation.population import Population
from fedpersona.simulation.scoring import Scorer, play_matrix
from fedpersona.taste import IALS, Ease, Subspace, TasteModel

__all__ = ["Twin", "twins_of"]

_SUBSPACE_PASSES = 16
_IALS_PASSES = 8
"""Passes over the whole matrix after which the figures no longer move much."""
_MOST_PAIRS = 300_000_000
"""Co-listened pairs up to which item kNN is fitted: beyond, it takes minutes."""
_MOST_DENSE = 100_000_000
"""Entries of the dense matrices up to which EASE is fitted centrally."""
_MOST_INTERACTIONS = 5_000_000
"""Interactions up to which the iterative twins are fitted."""


@dataclass(frozen=True)
class Twin:
    """A central model that can be fitted."""

    name: str
    fit: Callable[[], Scorer]


def twins_of(model: TasteModel, population: Population, seed: int) -> list[Twin]:
    """Return the central twin of a model and item kNN, as far as the population's size allows fitting them."""
    items = len(population.catalogue)
    lengths = np.diff(population.indptr).astype(np.float64)
    twins = []
    match model:
        case Subspace() if population.interactions <= _MOST_INTERACTIONS:
            twins.append(Twin("subspace, central", lambda: _subspace(model, population, seed)))
        case Ease() if items**2 <= _MOST_DENSE and items * len(population) <= _MOST_DENSE:
            twins.append(Twin("ease, central", lambda: central_ease(_whole(population), ridge=model.ridge)))
        case IALS() if population.interactions <= _MOST_INTERACTIONS:
            twins.append(Twin("ials, central", lambda: _ials(model, population, seed)))
    if (lengths**2).sum() <= _MOST_PAIRS:
        twins.append(Twin("item kNN, central", lambda: central_item_knn(_whole(population))))
    return twins


def _whole(population: Population) -> csr_array:
    return play_matrix(population, np.arange(len(population)))


def _subspace(model: Subspace, population: Population, seed: int) -> Scorer:
    shape = (len(population.catalogue), model.used_dim(len(population.catalogue)))
    start = generator(seed, "central subspace").standard_normal(shape)
    return central_subspace(
        _whole(population), start=start, iterations=_SUBSPACE_PASSES, alpha=model.alpha, shrinkage=model.shrinkage
    )


def _ials(model: IALS, population: Population, seed: int) -> Scorer:
    shape = (len(population.catalogue), model.dim)
    start = generator(seed, "central ials").standard_normal(shape) * model.spread / np.sqrt(model.dim)
    return central_ials(
        _whole(population), start=start, iterations=_IALS_PASSES, unseen=model.unseen, ridge=model.ridge
    )
