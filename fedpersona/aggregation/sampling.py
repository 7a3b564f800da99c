"""Which devices a round asks."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fedpersona.randomness import uniforms
from fedpersona.wire.plan import Plan

__all__ = ["sample_cohort"]

_BLOCK = 1 << 14
_SPARE = 8.0
"""Deviations by which more devices are looked at than are wanted."""


def sample_cohort(plan: Plan, available: NDArray[np.int64], most: int | None = None) -> NDArray[np.int64]:
    """Choose at most ``plan.cohort`` of the available devices, uniformly, without replacement.

    A device's draw depends on the plan's seed and round and on its own number alone: who else is there, and in
    which order they are listed, does not matter.

    Args:
        plan: the round.
        available: device numbers, each once, shape (n,).
        most: how many to choose at most, where that is not the cohort.

    Returns:
        The chosen device numbers, increasing.
    """
    most = plan.cohort if most is None else most
    if len(available) <= most:
        return np.sort(available)
    # A little more than the share that is wanted, block by block in the processor's cache; then the least of these.
    share = (most + _SPARE * (sqrt(most) + 1.0)) / len(available)
    members, draws = _below(plan, available, share)
    if len(members) < most:  # hardly ever
        members, draws = _below(plan, available, 1.0)
    return np.sort(members[np.argpartition(draws, most - 1)[:most]])


def _below(plan: Plan, available: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the devices whose draws are below a share, and these draws."""
    members, draws = [], []
    for start in range(0, len(available), _BLOCK):
        block = available[start : start + _BLOCK]
        drawn = uniforms(plan.seed, "cohort", block, round_number=plan.round_number)
        low = np.flatnonzero(drawn < share)
        members.append(block[low])
        draws.append(drawn[low])
    return np.concatenate(members), np.concatenate(draws)
