"""What a person plays beside what everybody plays: the part of a history that a private sum is spent on.

Once noisy votes are public, so is the direction that most histories have in common. A device takes it out of its own
before it adds anything: nothing is lost, since what everybody knows can be put back afterwards, and all of the length
that noise is measured against goes to the rest.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["STEPS", "centred", "popular_direction", "put_back", "taken_out"]

STEPS = 256
"""Steps of 1.0 in a centred history. Products of two are multiples of 1/65536, which every ring here holds exactly."""

_LEAST = 1e-3  # a rest shorter than this is rounding, or somebody who plays exactly what everybody plays
_SHORTER = 0.002


def popular_direction(votes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the unit vector along the votes of head items, or zeros where there are none, shape (head,)."""
    direction = np.maximum(votes.astype(np.float64), 0.0)
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else direction


def centred(places: NDArray[np.integer], popular: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a history without the popular direction, at length 1, in steps: int64, shape (head,).

    The sum of squares is at most ``STEPS²``: where rounding made it more, the history is shortened before it is
    rounded. Who plays nothing of the head, or is all popularity, is all zeros.

    Args:
        places: the head items that the person played, as positions in the head.
        popular: the popular direction.
    """
    listened = len(places)
    if not listened:
        return np.zeros(len(popular), np.int64)
    along = float(popular[places].sum()) / sqrt(listened)
    rest = -along * popular
    rest[places] += 1.0 / sqrt(listened)
    length = float(np.linalg.norm(rest))
    if length < _LEAST:
        return np.zeros(len(popular), np.int64)
    rest *= STEPS / length
    factor, steps = 1.0, np.rint(rest)
    while float(steps @ steps) > STEPS**2:
        factor -= _SHORTER
        steps = np.rint(rest * factor)
    return steps.astype(np.int64)


def taken_out(gram: NDArray[np.float64], popular: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (I - p pᵀ) G (I - p pᵀ): in the direction p there is only noise."""
    along = gram @ popular
    both = np.outer(popular, along)
    return np.asarray(gram - both - both.T + float(popular @ along) * np.outer(popular, popular), np.float64)


def put_back(
    gram: NDArray[np.float64], votes: NDArray[np.floating], popular: NDArray[np.float64], people: int
) -> NDArray[np.float64]:
    """Return what the sum of x xᵀ over uncentred histories of length 1 would be, about.

    The votes tell how much of a history lies in the popular direction on average: Σ x·p = people · c. So the direction
    gets people · c², and all others their share of the rest, 1 - c².
    """
    if people < 1:
        return gram
    closeness = min(0.9, max(0.0, float(popular @ votes) / people))
    return np.asarray(gram * (1 - closeness**2) + people * closeness**2 * np.outer(popular, popular), np.float64)
