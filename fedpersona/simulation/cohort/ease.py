"""EASE for a cohort: the Gram matrix of a block by one sparse product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners, add_votes, weighted
from fedpersona.taste.ease import Ease, gram_votes
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
            add = add_votes if self.model.noise else add_listeners
            add(total, plays, encoder)
            return
        if len(head) < plays.shape[1]:
            plays = csr_array(plays[:, head])
        if self.model.noise:
            _add_shared(total["gram"], plays, len(head), encoder)
            return
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


def _add_shared(gram: NDArray[np.int64], plays: csr_array, head: int, encoder: BlockEncoder) -> None:
    """Add x xᵀ/‖x‖² of every device to a packed matrix, pairs √2-fold: two numbers a device, each encoded once."""
    votes = np.array([gram_votes(count) if count else (0.0, 0.0) for count in np.diff(plays.indptr).tolist()])
    itself, pair = encoder.encode("gram", votes.reshape(-1, 2)).T
    ones = weighted(plays, np.ones(plays.shape[0], np.int64))
    pairs = np.asarray((weighted(plays, pair).T @ ones).toarray(), np.int64)
    pairs[np.diag_indices(head)] = weighted(plays, itself).sum(axis=0)
    start = 0
    for row in range(head):
        gram[start : start + head - row] += pairs[row, row:]
        start += head - row


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
