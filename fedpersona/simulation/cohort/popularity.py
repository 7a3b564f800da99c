"""Popularity for a cohort: count every item of a block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners, add_votes
from fedpersona.taste.model import Shared
from fedpersona.taste.popularity import Popularity

__all__ = ["PopularityCohort", "PopularityScorer"]


class PopularityCohort:
    """The cohort form of ``Popularity``."""

    block = 16_384

    def __init__(self, model: Popularity) -> None:
        self.model = model

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, encoder: BlockEncoder) -> None:
        """Count the listeners in a block."""
        add = add_votes if self.model.noise else add_listeners
        add(total, plays, encoder)

    def scorer(self, shared: Shared) -> PopularityScorer:
        """Return the counts as everyone's scores."""
        return PopularityScorer(shared["listeners"])


class PopularityScorer:
    """The same scores for everyone."""

    def __init__(self, listeners: NDArray[np.floating]) -> None:
        self.listeners = listeners

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Return the listeners of each item, once a person."""
        return np.tile(self.listeners.astype(np.float32), (query.shape[0], 1))
