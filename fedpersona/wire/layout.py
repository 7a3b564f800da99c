"""What an update may hold, declared up front: names, shapes, and how large one device's entries can be."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, prod

from fedpersona.errors import LayoutMismatch

__all__ = ["ArraySpec", "Layout"]


@dataclass(frozen=True)
class ArraySpec:
    """One array of an update."""

    name: str
    shape: tuple[int, ...]
    bound: float
    """Largest absolute value that one device may put into any entry."""
    unit: float | None = None
    """Euclidean length of the array that counts as 1 in the length of an update, by default the bound.

    It is the array's share of what is protected jointly: the larger the unit, the less the array counts, and the more
    noise is on its entries.
    """
    public: bool = False
    """Whether everyone knows what a device puts there: it is neither clipped nor hidden by noise."""

    def __post_init__(self) -> None:
        if not (isfinite(self.bound) and self.bound > 0):
            raise LayoutMismatch(f"array '{self.name}': the bound of an entry must be positive and finite")
        if not (isfinite(self.measure) and self.measure > 0):
            raise LayoutMismatch(f"array '{self.name}': the unit of its length must be positive and finite")

    @property
    def measure(self) -> float:
        """The unit, or the bound where none is given."""
        return self.bound if self.unit is None else self.unit

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The arrays of an update: always all of them, always dense, so that no shape or sparsity tells on anyone."""

    arrays: tuple[ArraySpec, ...]
    length: float | None = None
    """What the model states as the sensitivity of a sum: no honest update is longer, in units of the arrays.

    None where the model states none.
    """

    def __post_init__(self) -> None:
        if self.length is not None and not (isfinite(self.length) and self.length > 0):
            raise LayoutMismatch("the longest update of a layout must be positive and finite")
        if len({spec.name for spec in self.arrays}) != len(self.arrays):
            raise LayoutMismatch("a layout names an array twice")

    def __getitem__(self, name: str) -> ArraySpec:
        for spec in self.arrays:
            if spec.name == name:
                return spec
        raise LayoutMismatch(f"the layout has no array '{name}': it has {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays' names, in order."""
        return tuple(spec.name for spec in self.arrays)

    @property
    def bounded(self) -> Layout:
        """What clipping bounds and noise hides: all that is not public."""
        return Layout(tuple(spec for spec in self.arrays if not spec.public), self.length)

    @property
    def size(self) -> int:
        """Numbers in one update."""
        return sum(spec.size for spec in self.arrays)
