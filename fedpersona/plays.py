"""One person's history, as arrays over catalogue rows. It lives on the person's device and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import DataError

__all__ = ["Plays"]


@dataclass(frozen=True, eq=False)
class Plays:
    """What one person played: each item once, with how often and when last.

    Its ``repr`` shows a count only, so that no log or traceback carries a history.
    """

    items: NDArray[np.int32]
    """Catalogue rows, strictly increasing, shape (n,)."""
    weights: NDArray[np.float32]
    """How often each was played (or another positive weight), shape (n,)."""
    last_played: NDArray[np.int64] | None = None
    """Unix seconds (UTC) of the last play of each, shape (n,); None where the history carries no times."""

    def __post_init__(self) -> None:
        if self.items.ndim != 1 or self.weights.shape != self.items.shape:
            raise DataError("plays need one weight an item", place="plays")
        if self.items.size and (self.items[0] < 0 or np.any(np.diff(self.items) <= 0)):
            raise DataError("item rows must be non-negative and strictly increasing", place="plays.items")
        if not (np.isfinite(self.weights).all() and (self.weights > 0).all()):
            raise DataError("weights must be finite and positive", place="plays.weights")
        if self.last_played is not None and self.last_played.shape != self.items.shape:
            raise DataError("plays need one time an item, or no times at all", place="plays.last_played")

    def __len__(self) -> int:
        return int(self.items.size)

    def __repr__(self) -> str:
        return f"Plays({len(self)} items, {'with' if self.last_played is not None else 'without'} times)"
