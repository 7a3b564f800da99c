"""Symmetric matrices as their upper triangle, row by row: half of the numbers to send."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_outer", "packed_positions", "packed_size", "unpack"]


def packed_size(n: int) -> int:
    """Return the number of entries on and above the diagonal of an n × n matrix."""
    return n * (n + 1) // 2


def packed_positions(rows: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """Return where the pairs (a, b), a ≤ b, of strictly increasing rows stand in a packed n × n matrix."""
    first, second = np.triu_indices(len(rows))
    a, b = rows[first].astype(np.int64), rows[second].astype(np.int64)
    return np.asarray(a * n - a * (a - 1) // 2 + (b - a), np.int64)


def pack_outer(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the packed outer product of each vector with itself: (..., d) becomes (..., d (d + 1) / 2)."""
    first, second = np.triu_indices(vectors.shape[-1])
    return np.asarray(vectors[..., first] * vectors[..., second], np.float64)


def unpack(packed: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return the full symmetric matrices: (..., n (n + 1) / 2) becomes (..., n, n)."""
    full = np.empty((*packed.shape[:-1], n, n))
    start = 0
    for row in range(n):
        part = packed[..., start : start + n - row]
        full[..., row, row:] = part
        full[..., row:, row] = part
        start += n - row
    return full
