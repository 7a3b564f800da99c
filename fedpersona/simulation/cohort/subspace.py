"""Subspace for a cohort: one sparse product to project, one to scatter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners, add_votes, scatter
from fedpersona.taste.model import Shared
from fedpersona.taste.subspace import Subspace

__all__ = ["LinearScorer", "SubspaceCohort"]


class SubspaceCohort:
    """The cohort form of ``Subspace``."""

    block = 8192

    def __init__(self, model: Subspace) -> None:
        self.model = model

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, encoder: BlockEncoder) -> None:
        """Project a block of people, round once, and add each one's vector to the rows of their items.

        In the private form a first round counts their votes.
        """
        if self.model.noise and not shared.round_number:
            add_votes(total, plays, encoder)
            return
        added = self.model.added(plays @ self.model.projector(shared), np.diff(plays.indptr))
        total["sketch"] += scatter(plays, encoder.encode("sketch", added))
        if not self.model.noise:
            add_listeners(total, plays, encoder)

    def scorer(self, shared: Shared) -> LinearScorer:
        """Return projector and reader as one low-rank linear map."""
        return LinearScorer(self.model.projector(shared), self.model.reader(shared), shared["listeners"])


class LinearScorer:
    """Scores that are linear in the plays, through a narrow middle: query × into × out.T."""

    def __init__(self, into: NDArray[np.float64], out: NDArray[np.float64], listeners: NDArray[np.floating]) -> None:
        self.into = into
        self.out = np.ascontiguousarray(out.T, np.float32)
        self.listeners = listeners

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Project the plays, and read every item off the projection."""
        return np.asarray((query @ self.into).astype(np.float32) @ self.out, np.float32)
