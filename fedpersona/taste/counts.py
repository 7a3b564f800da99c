"""How one person counts towards the listeners of items: wholly, or with a vote that is shared out."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fedpersona.plays import Plays

__all__ = ["shared_vote", "vote"]


def vote(listened: int) -> float:
    """Return what one item of so many gets: 1/√n, so that all of a person's together have the length 1."""
    return 1.0 / sqrt(listened)


def shared_vote(plays: Plays, items: int) -> NDArray[np.float64]:
    """Return a person's addend to noisy counts, shape (items,): zero for who played nothing, else of length 1.

    However much somebody plays, they move the counts by 1. That bounds what noise has to hide, and weighs an item of
    somebody who plays few things more.
    """
    counts = np.zeros(items)
    if len(plays):
        counts[plays.items] = vote(len(plays))
    return counts
