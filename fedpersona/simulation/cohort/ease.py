"""EASE for a cohort: the Gram matrix of a block by one sparse product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners
from fedpersona.taste.ease import Ease
from fedpersona.taste.model import Shared

__all__ = ["EaseCohort", "EaseScorer"]


class EaseCohort:
    """The cohort form of ``Ease``."""

    block = 16_384

    def __init__(self, model: Ease) -> None:
        self.model = model

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, encoder: BlockEncoder) -> None:
        """Count pairs of head items (or, to find the head, listeners) in a block."""
        head = self.model.head_rows(shared)
        if not len(head):
            add_listeners(total, plays, encoder)
            return
        if len(head) < plays.shape[1]:
            plays = csr_array(plays[:, head])
        counts = csr_array((np.ones(plays.nnz, np.int32), plays.indices, plays.indptr), shape=plays.shape)
        pairs = np.asarray((counts.T @ counts).toarray(), np.int32)
        one = encoder.one("gram")
        start = 0
        for row in range(len(head)):
            total["gram"][start : start + len(head) - row] += pairs[row, row:] * one
            start += len(head) - row

    def scorer(self, shared: Shared) -> EaseScorer:
        """Return the item-to-item weights, and shares of listeners for the tail."""
        return EaseScorer(
            self.model.head_rows(shared), shared["weights"], shared["listeners"], max(float(shared["people"][0]), 1.0)
        )


class EaseScorer:
    """Item-to-item weights on the head, the share of listeners on the tail."""

    def __init__(
        self,
        head: NDArray[np.int64],
        weights: NDArray[np.float32],
        listeners: NDArray[np.floating],
        people: float,
    ) -> None:
        self.head = head
        self.weights = weights
        self.listeners = listeners
        self.share = (listeners / people).astype(np.float32)

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Add the weights from every played item."""
        if not self.weights.size:
            return np.tile(self.share, (query.shape[0], 1))
        if len(self.head) == query.shape[1]:
            return np.asarray(query.astype(np.float32) @ self.weights, np.float32)
        scores = np.tile(self.share, (query.shape[0], 1))
        scores[:, self.head] = query[:, self.head].astype(np.float32) @ self.weights
        return scores
