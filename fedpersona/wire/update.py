"""What a device hands over: an addend. A total over a cohort has the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import LayoutMismatch
from fedpersona.wire.layout import Layout

__all__ = ["Update", "finite"]


def finite(array: NDArray[np.floating]) -> bool:
    """Tell whether every entry is finite, without an array of answers: NaN and infinity show in the extremes."""
    return not array.size or bool(np.isfinite(array.max()) and np.isfinite(array.min()))


@dataclass(frozen=True, eq=False)
class Update:
    """Arrays by name, float64. Their ``repr`` shows shapes only: one device's entries are private."""

    arrays: Mapping[str, NDArray[np.float64]]

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.arrays[name]

    def __repr__(self) -> str:
        return f"Update({', '.join(f'{name} {array.shape}' for name, array in self.arrays.items())})"

    def check(self, layout: Layout) -> None:
        """Check that the update holds exactly the arrays of the layout, with finite entries.

        Raises:
            LayoutMismatch: an array is missing, unasked for, of another shape, or not finite.
        """
        if set(self.arrays) != set(layout.names):
            raise LayoutMismatch(f"the layout asks for {sorted(layout.names)}, the update has {sorted(self.arrays)}")
        for spec in layout.arrays:
            array = self.arrays[spec.name]
            if array.shape != spec.shape:
                raise LayoutMismatch(f"array '{spec.name}' has shape {array.shape}, the layout says {spec.shape}")
            if not finite(array):
                raise LayoutMismatch(f"array '{spec.name}' has an entry that is not finite")
