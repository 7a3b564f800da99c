"""iALS on the whole matrix: all people, then all items, in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from fedpersona.taste.packing import pack_outer, unpack

__all__ = ["CentralIALS", "central_ials"]

_ROWS = 2048
"""Rows whose d × d systems are solved at once."""


def _solve_side(plays: csr_array, other: NDArray[np.float64], *, alpha: float, ridge: float) -> NDArray[np.float64]:
    """Solve for every row's vector given the other side's (Hu, Koren and Volinsky 2008, equations 4 and 5).

    Regularised as Rendle et al. 2022, section 3: λ (weight of the row's plays + α columns).
    """
    rows, columns = plays.shape
    dim = other.shape[1]
    gram = alpha * other.T @ other
    outer = pack_outer(other)
    vectors = np.empty((rows, dim))
    for start in range(0, rows, _ROWS):
        block = csr_array(plays[start : start + _ROWS])
        systems = unpack(np.asarray(block @ outer), dim) + gram
        penalty = ridge * (np.asarray(block.sum(axis=1)) + alpha * columns)
        systems[:, range(dim), range(dim)] += penalty[:, None]
        with threadpool_limits(1):  # many small systems: threads would only wait for each other
            vectors[start : start + _ROWS] = np.linalg.solve(systems, np.asarray(block @ other)[..., None])[..., 0]
    return vectors


class CentralIALS:
    """Item factors that were fitted on the whole matrix."""

    def __init__(
        self, factors: NDArray[np.float64], listeners: NDArray[np.float64], *, unseen: float, ridge: float
    ) -> None:
        self.factors = factors
        self.listeners = listeners
        self.alpha = unseen / len(factors)
        self.ridge = ridge

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Solve for people with these plays, and multiply with every item."""
        people = _solve_side(query, self.factors, alpha=self.alpha, ridge=self.ridge)
        return (people @ self.factors.T).astype(np.float32)


def central_ials(
    plays: csr_array, *, start: NDArray[np.float64], iterations: int, unseen: float, ridge: float
) -> CentralIALS:
    """Alternate from the item factors ``start`` (items, dim)."""
    factors, alpha = start, unseen / plays.shape[1]
    by_item = csr_array(plays.T.tocsr())
    for _ in range(iterations):
        people = _solve_side(plays, factors, alpha=alpha, ridge=ridge)
        factors = _solve_side(by_item, people, alpha=alpha, ridge=ridge)
    listeners = np.diff(by_item.indptr).astype(np.float64)
    return CentralIALS(factors, listeners, unseen=unseen, ridge=ridge)
