"""The leading singular vectors of the normalised play matrix, by block power iteration on the whole of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from threadpoolctl import threadpool_limits

from fedpersona.simulation.cohort.subspace import LinearScorer

__all__ = ["CentralSubspace", "central_subspace"]


class CentralSubspace(LinearScorer):
    """Right singular vectors of X D^-α with shrunk directions; scores are linear in the plays."""

    def __init__(
        self,
        basis: NDArray[np.float64],
        strength: NDArray[np.float64],
        listeners: NDArray[np.int64],
        *,
        alpha: float,
        shrinkage: float,
    ) -> None:
        self.basis = basis
        self.strength = strength
        fame = np.maximum(listeners, 1.0)[:, None]
        shrunk = strength / np.maximum(strength + shrinkage * np.median(strength), 1e-300)
        super().__init__(basis * fame**-alpha, basis * shrunk * fame**alpha, listeners.astype(np.float64))


def central_subspace(
    plays: csr_array, *, start: NDArray[np.float64], iterations: int, alpha: float, shrinkage: float
) -> CentralSubspace:
    """Iterate B = X D^-α from ``start`` (items, dim): Q ← left singular vectors of Bᵀ (B Q).

    Halko, Martinsson and Tropp 2011, algorithm 4.4, on the whole matrix.
    """
    listeners = np.bincount(plays.indices, minlength=plays.shape[1])
    normalised = plays @ diags_array(np.maximum(listeners, 1.0) ** -alpha)
    basis = start
    with threadpool_limits(1):  # tall and thin: threads would mostly wait for each other
        for _ in range(iterations - 1):
            basis = np.linalg.qr(normalised.T @ (normalised @ basis))[0]
        basis, strength, _ = np.linalg.svd(normalised.T @ (normalised @ basis), full_matrices=False)
    return CentralSubspace(basis, strength, listeners, alpha=alpha, shrinkage=shrinkage)
