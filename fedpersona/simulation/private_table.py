"""The private parts of simulated devices, a row each: what their owners' devices would keep, in one table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.taste.gradient import GradientModel

__all__ = ["PrivateTable"]

_BLOCK = 1 << 16


class PrivateTable:
    """One row of float32 a device. A simulation holds such a table; a server never does.

    Args:
        rows: shape (devices, width); it is written to in place.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows

    @classmethod
    def begin(cls, model: GradientModel, seed: int, devices: int) -> PrivateTable:
        """Return the table before the first round."""
        width = sum(int(np.prod(shape, dtype=np.int64)) for shape in model.private_shapes().values())
        rows = np.empty((devices, width), np.float32)
        for start in range(0, devices, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, devices))
            rows[numbers[0] : numbers[-1] + 1] = model.begin(seed, numbers)
        return cls(rows)

    def take(self, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return a copy of the rows of some devices, shape (n, width)."""
        return np.ascontiguousarray(self.rows[devices])

    def put(self, devices: NDArray[np.integer], rows: NDArray[np.float32]) -> None:
        """Replace the rows of some devices."""
        self.rows[devices] = rows
