"""Which devices a round asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.randomness import uniforms
from fedpersona.wire.plan import Plan

__all__ = ["sample_cohort"]


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
    draws = uniforms(plan.seed, "cohort", available, round_number=plan.round_number)
    return np.sort(available[np.argpartition(draws, most - 1)[:most]])
