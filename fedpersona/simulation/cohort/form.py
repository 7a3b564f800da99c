"""What a cohort form is: the sum of many devices' encoded updates, without making each one."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import offsets
from fedpersona.randomness import fingerprints
from fedpersona.simulation.scoring import Scorer
from fedpersona.taste.counts import vote
from fedpersona.taste.model import Shared
from fedpersona.wire.plan import Plan

__all__ = ["BlockEncoder", "CohortForm", "IntegerSum", "add_listeners", "add_votes", "scatter", "weighted"]

IntegerSum = dict[str, NDArray[np.int64]]
"""Sums of encoded entries by array name."""


class BlockEncoder:
    """Rounds what a block of devices adds, each device with the offsets that it would have alone.

    Args:
        fixed_point: of the round.
        plan: the round.
        plays: who played what, a row a device: all of it, whatever part of it a model counts.
    """

    def __init__(self, fixed_point: FixedPoint, plan: Plan, plays: csr_array) -> None:
        self._fixed_point = fixed_point
        self._plan = plan
        self._plays = plays

    @cached_property
    def _prints(self) -> NDArray[np.uint64]:
        return fingerprints(self._plays.indices, self._plays.indptr, self._plays.shape[1])

    def encode(self, name: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Encode entries of the array ``name``, a row a device: shape (devices, columns)."""
        return self._fixed_point.encode(name, values, offsets(self._plan, name, self._prints)[:, np.newaxis])

    def steps(self, name: str, of_one: int) -> np.int64:
        """Return how many steps of the ring make one of ``of_one`` equal parts of 1.0.

        Raises:
            ConfigError: the ring is coarser than that, and would round what devices send.
        """
        steps, rest = divmod(self._fixed_point.scale(name), of_one)
        if not steps or rest:
            raise ConfigError(f"the ring is too coarse for '{name}' over {self._fixed_point.cohort:,} devices: use 64")
        return np.int64(steps)

    def one(self, name: str) -> np.int64:
        """Return 1.0 in an array of counts, bounded by one: a whole number of steps for every device."""
        return np.int64(self._fixed_point.encode(name, np.ones(1), 0.0)[0])


class CohortForm(Protocol):
    """One taste model for blocks of devices."""

    block: int
    """Devices a block takes at most: bounds memory."""

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, encoder: BlockEncoder) -> None:
        """Add the encoded updates of a block of devices, of whose plays there is a row each, to ``total``, in place."""
        ...

    def scorer(self, shared: Shared) -> Scorer:
        """Return the model as a scorer of many people."""
        ...


def scatter(plays: csr_array, encoded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add each device's encoded vector to the rows of all items it played: Xᵀ E, shape (items, columns)."""
    incidence = csr_array((np.ones(plays.nnz, np.int64), plays.indices, plays.indptr), shape=plays.shape)
    return np.asarray(incidence.T @ encoded, np.int64)


def add_listeners(total: IntegerSum, plays: csr_array, encoder: BlockEncoder) -> None:
    """Add one listener to every item of every device."""
    total["listeners"] += np.bincount(plays.indices, minlength=plays.shape[1]) * encoder.one("listeners")


def add_votes(total: IntegerSum, plays: csr_array, encoder: BlockEncoder) -> None:
    """Add every device's vote, shared out over its items."""
    votes = np.array([vote(listened) if listened else 0.0 for listened in np.diff(plays.indptr).tolist()])
    total["listeners"] += weighted(plays, encoder.encode("listeners", votes[:, np.newaxis])[:, 0]).sum(axis=0)


def weighted(plays: csr_array, values: NDArray[np.int64]) -> csr_array:
    """Return who played what with one integer a device in place of ones, shape (devices, items)."""
    return csr_array((np.repeat(values, np.diff(plays.indptr)), plays.indices, plays.indptr), shape=plays.shape)
