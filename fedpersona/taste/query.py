"""What the device alone decides when it asks a model for scores: how fast plays fade, and how much fame counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.plays import Plays

__all__ = ["discounted", "query_weights"]


def query_weights(plays: Plays, half_life: float | None) -> NDArray[np.float64]:
    """Return the weight of each played item in the person's query, shape (n,).

    A play's age is the number of items played strictly later, so that items played in the same second weigh the
    same; the weight halves every ``half_life`` items. Without times, or without a half-life, all weights are 1.
    """
    if half_life is None or plays.last_played is None:
        return np.ones(len(plays))
    in_order = np.sort(plays.last_played)
    age = len(plays) - np.searchsorted(in_order, plays.last_played, side="right")
    return np.exp2(-age / half_life)


def discounted(scores: NDArray[np.float64], listeners: NDArray[np.floating], discount: float) -> NDArray[np.float64]:
    """Divide scores by ``(listeners + 1) ** discount``: at 0 nothing changes, at 1 fame counts for nothing."""
    if discount == 0:
        return scores
    return np.asarray(scores / (listeners.astype(np.float64) + 1.0) ** discount, np.float64)
