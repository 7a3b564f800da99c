"""What a cohort form is: the sum of many devices' encoded updates, without making each one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.scoring import Scorer
from fedpersona.taste.model import Shared

__all__ = ["CohortForm", "IntegerSum", "add_listeners", "scatter"]

IntegerSum = dict[str, NDArray[np.int64]]
"""Sums of encoded entries by array name."""


class CohortForm(Protocol):
    """One taste model for blocks of devices."""

    block: int
    """Devices a block takes at most: bounds memory."""

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, fixed_point: FixedPoint) -> None:
        """Add the encoded updates of a block of devices, of whose plays there is a row each, to ``total``, in place."""
        ...

    def scorer(self, shared: Shared) -> Scorer:
        """Return the model as a scorer of many people."""
        ...


def scatter(plays: csr_array, encoded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add each device's encoded vector to the rows of all items it played: Xᵀ E, shape (items, columns)."""
    incidence = csr_array((np.ones(plays.nnz, np.int64), plays.indices, plays.indptr), shape=plays.shape)
    return np.asarray(incidence.T @ encoded, np.int64)


def add_listeners(total: IntegerSum, plays: csr_array, fixed_point: FixedPoint) -> None:
    """Add one listener to every item of every device."""
    one = int(fixed_point.encode("listeners", np.ones(1))[0])
    total["listeners"] += np.bincount(plays.indices, minlength=plays.shape[1]) * one
