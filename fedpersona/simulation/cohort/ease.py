"""EASE for a cohort: the Gram matrix of a block by one sparse product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners, add_votes
from fedpersona.taste.centred import STEPS, centred, popular_direction
from fedpersona.taste.ease import Ease
from fedpersona.taste.model import Shared

__all__ = ["EaseCohort", "EaseScorer"]


class EaseCohort:
    """The cohort form of ``Ease``."""

    def __init__(self, model: Ease) -> None:
        self.model = model
        self.block = 1024 if model.noise else 16_384  # centred histories are dense

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
            _add_centred(total, plays, popular_direction(shared["listeners"][head]), encoder)
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


def _add_centred(total: IntegerSum, plays: csr_array, popular: NDArray[np.float64], encoder: BlockEncoder) -> None:
    """Add y yᵀ of every device by one product of whole numbers, exact in float64."""
    rest = np.empty((plays.shape[0], plays.shape[1]))
    for person in range(len(rest)):
        places = plays.indices[plays.indptr[person] : plays.indptr[person + 1]]
        rest[person] = centred(np.sort(places), popular)
    products = rest.T @ rest
    total["itself"] += np.diagonal(products).astype(np.int64) * encoder.steps("itself", STEPS**2)
    step, start = encoder.steps("pairs", STEPS**2), 0
    for row in range(len(popular)):
        pairs = products[row, row + 1 :].astype(np.int64)
        total["pairs"][start : start + pairs.size] += pairs * step
        start += pairs.size


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
