"""Bounds one device's whole contribution: all arrays jointly, so that nobody weighs more than agreed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import LayoutMismatch
from fedpersona.wire.layout import Layout
from fedpersona.wire.update import Update

__all__ = ["clip", "update_norm"]

_BLOCK = 1 << 16


def update_norm(update: Update, layout: Layout) -> float:
    """Return the length of an update: the root of the sum of (entry / unit of its array)², over all arrays.

    Arrays are measured in their own units, so that counts and vectors can be clipped together. What is public has no
    length.
    """
    total = 0.0
    for spec in layout.bounded.arrays:
        total += sum(float(np.dot(block, block)) for block in _blocks(update[spec.name])) / spec.measure**2
    return math.sqrt(total)


def clip(update: Update, layout: Layout, limit: float) -> tuple[Update, float]:
    """Shorten an update to ``limit``, keeping its direction (Abadi et al. 2016, algorithm 1).

    Returns:
        The update, itself where it was short enough, and the factor it was multiplied by.

    Raises:
        LayoutMismatch: its length is not finite.
    """
    norm = update_norm(update, layout)
    if not math.isfinite(norm):
        raise LayoutMismatch("the update's length is not finite: it cannot be clipped")
    if norm <= limit:
        return update, 1.0
    factor = limit / norm
    return Update({spec.name: update[spec.name] * (1.0 if spec.public else factor) for spec in layout.arrays}), factor


def _blocks(array: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK]
