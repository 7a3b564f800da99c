"""EASE on the whole matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.sparse import csr_array

from fedpersona.simulation.cohort.ease import EaseScorer

__all__ = ["central_ease", "central_ease_weights"]


def central_ease_weights(plays: csr_array, ridge: float) -> NDArray[np.float64]:
    """Return B of Steck 2019, equation 8, shape (items, items).

    With fewer people than items P = (XᵀX + λI)^-1 is found through the people (Woodbury):
    P = (I - Xᵀ (XXᵀ + λI)^-1 X) / λ; otherwise by solving for it.
    """
    people, items = plays.shape
    dense = plays.toarray()
    if people < items:
        kernel = dense @ dense.T + ridge * np.eye(people)
        inverse = (np.eye(items) - dense.T @ solve(kernel, dense, assume_a="pos")) / ridge
    else:
        inverse = solve(dense.T @ dense + ridge * np.eye(items), np.eye(items), assume_a="pos")
    weights = -inverse / np.diagonal(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights, np.float64)


def central_ease(plays: csr_array, *, ridge: float) -> EaseScorer:
    """Fit EASE on the whole catalogue."""
    people, items = plays.shape
    listeners = np.bincount(plays.indices, minlength=items).astype(np.float64)
    weights = central_ease_weights(plays, ridge).astype(np.float32)
    return EaseScorer(np.arange(items), weights, listeners, float(people))
