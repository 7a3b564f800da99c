"""Item kNN: cosine similarity between items with shrinkage, the nearest neighbours only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

__all__ = ["central_item_knn"]


class ItemKNN:
    """A sparse item-to-item similarity."""

    def __init__(self, similarity: csr_array, listeners: NDArray[np.float64]) -> None:
        self.similarity = similarity
        self.listeners = listeners

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Add up the similarities from every played item."""
        return np.asarray((query @ self.similarity).toarray(), np.float32)


def central_item_knn(plays: csr_array, *, neighbours: int = 100, shrink: float = 10.0) -> ItemKNN:
    """Fit item kNN (Sarwar et al. 2001, with the shrunk cosine of Bell and Koren 2007)."""
    gram = coo_array(plays.T @ plays)
    source, target, together = gram.row, gram.col, gram.data
    listeners = np.bincount(plays.indices, minlength=plays.shape[1]).astype(np.float64)
    other = source != target
    source, target, together = source[other], target[other], together[other]
    cosine = together / (np.sqrt(listeners[source] * listeners[target]) + shrink)
    order = np.lexsort((source, -cosine, target))
    target = target[order]
    rank = np.arange(len(target)) - np.searchsorted(target, target)
    kept = order[rank < neighbours]
    matrix = coo_array((cosine[kept], (source[kept], gram.col[other][kept])), shape=gram.shape)
    return ItemKNN(csr_array(matrix), listeners)
