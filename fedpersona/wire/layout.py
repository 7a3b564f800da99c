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

    def __post_init__(self) -> None:
        if not (isfinite(self.bound) and self.bound > 0):
            raise LayoutMismatch(f"array '{self.name}': the bound of an entry must be positive and finite")

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """The arrays of an update: always all of them, always dense, so that no shape or sparsity tells on anyone."""

    arrays: tuple[ArraySpec, ...]

    def __post_init__(self) -> None:
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
    def size(self) -> int:
        """Numbers in one update."""
        return sum(spec.size for spec in self.arrays)
