"""The shared space of a taste model, as one direction an item."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.randomness import generator
from fedpersona.taste import Shared

__all__ = ["item_directions"]

_EASE_DIMENSIONS = 64


def item_directions(shared: Shared, most: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return unit vectors of the most played items that a model has a place for.

    Args:
        shared: the model: ``subspace`` gives its basis times the strengths, ``ials`` its factors, ``ease`` the
            leading left singular vectors of its weights.
        most: how many items at most.

    Returns:
        Catalogue rows, most listeners first, shape (n,), and their directions, float32, shape (n, dim). Empty for a
        model without a space, such as popularity.
    """
    arrays = shared.arrays
    covered = np.arange(len(arrays["listeners"])) if "listeners" in arrays else np.empty(0, np.int64)
    if "basis" in arrays:
        vectors = arrays["basis"] * arrays["strength"]
    elif "factors" in arrays:
        vectors = arrays["factors"]
    elif "weights" in arrays and arrays["weights"].size:
        covered = arrays["head"].astype(np.int64)
        vectors = _leading_left(arrays["weights"], min(_EASE_DIMENSIONS, len(covered)))
    else:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    order = np.argsort(-arrays["listeners"][covered], kind="stable")[:most]
    chosen = np.asarray(vectors[order], np.float64)
    lengths = np.linalg.norm(chosen, axis=1)
    placed = np.isfinite(lengths) & (lengths > 0) & (arrays["listeners"][covered[order]] > 0)
    directions = chosen[placed] / lengths[placed, None]
    return covered[order[placed]], directions.astype(np.float32)


def _leading_left(weights: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Return left singular vectors times singular values (Halko, Martinsson and Tropp 2011, algorithm 5.1)."""
    start = generator(0, "taste map").standard_normal((weights.shape[1], dim)).astype(np.float32)
    basis = np.linalg.qr(weights @ (weights.T @ (weights @ start)))[0]
    left, strength, _ = np.linalg.svd(basis.T @ weights, full_matrices=False)
    return np.asarray((basis @ left) * strength, np.float32)
