"""Steps of many devices side by side: which device is in which lane, and where its rows of tables are.

Lanes are sorted by their number of steps, longest first: at any step those that go on are the first ones, and none
idles. Rows lie in the same order, so those of the lanes that go on are the first ones too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpersona.taste.neural.steps import Steps

__all__ = ["Lanes", "Step"]

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of all lanes that take it."""

    lanes: int
    rows: int
    """Rows of these lanes."""
    ids: tuple[NDArray[np.int64], ...]
    """Shape (lanes, ...)."""
    slots: tuple[NDArray[np.int64], ...]
    """Where the ids' rows are, of the same shapes."""
    beside: tuple[NDArray[np.float32], ...]
    """Shape (lanes, ...)."""


class Lanes:
    """Devices that train side by side.

    Args:
        steps: of each device.
        items: rows of the catalogue.
    """

    def __init__(self, steps: Sequence[Steps], items: int) -> None:
        counts = np.array([len(one) for one in steps], np.int64)
        self.order: NDArray[np.int64] = np.argsort(-counts, kind="stable")
        """Device of each lane, by position in ``steps``."""
        self.counts: NDArray[np.int64] = counts[self.order]
        sorted_steps = [steps[lane] for lane in self.order.tolist()]
        owners = np.repeat(np.arange(len(steps)), self.counts)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        self._ids = tuple(_stacked([one.ids[k] for one in sorted_steps], edge=True) for k in range(len(steps[0].ids)))
        self._beside = tuple(_stacked([one.beside[k] for one in sorted_steps]) for k in range(len(steps[0].beside)))
        keys = [owners.reshape(-1, *[1] * (ids.ndim - 1)) * items + ids for ids in self._ids]
        rows, places = np.unique(np.concatenate([key.reshape(-1) for key in keys]), return_inverse=True)
        self.rows: NDArray[np.int64] = rows % items
        """Catalogue row of each row of the arena."""
        self.row_lanes: NDArray[np.int64] = rows // items
        """Lane of each."""
        bounds = np.cumsum([key.size for key in keys])[:-1]
        self._slots = tuple(part.reshape(key.shape) for part, key in zip(np.split(places, bounds), keys, strict=True))
        self._row_ends = np.searchsorted(self.row_lanes, np.arange(len(steps)), side="right")

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[Step]:
        """Give one step after another."""
        for number in range(int(self.counts.max(initial=0))):
            lanes = int(np.searchsorted(-self.counts, -number))
            here = self._starts[:lanes] + number
            yield Step(
                lanes,
                int(self._row_ends[lanes - 1]),
                tuple(array[here] for array in self._ids),
                tuple(array[here] for array in self._slots),
                tuple(array[here] for array in self._beside),
            )


def _stacked(arrays: Sequence[NDArray[T]], *, edge: bool = False) -> NDArray[T]:
    """Return the arrays one below the other; where some are narrower, they are filled with zeros or their first."""
    width = max(array.shape[1] for array in arrays)
    filled = []
    for array in arrays:
        missing = width - array.shape[1]
        if missing and len(array):
            fill = np.repeat(array[:, :1], missing, axis=1)
            array = np.concatenate([array, fill if edge else np.zeros_like(fill)], axis=1)
        filled.append(array if len(array) else np.empty((0, width, *array.shape[2:]), array.dtype))
    return np.concatenate(filled)
