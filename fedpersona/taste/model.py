"""The one idea that everything follows: map, sum, apply. A taste model is four pure functions."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.wire.layout import Layout
from fedpersona.wire.update import Update, finite

__all__ = ["COUNT", "Private", "Range", "Shared", "TasteModel"]

Range: TypeAlias = tuple[float, float]

COUNT: Range = (0.0, 1e9)
"""Range of a number of people."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What everyone has: the arrays that a server sends to devices, float32, and what they belong to."""

    model: str
    catalogue: str
    """Version of the catalogue whose rows the item tables have."""
    round_number: int
    """Rounds folded in so far; 0 for an initial model."""
    arrays: Mapping[str, NDArray[np.float32]]
    kept: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    """What a server keeps for itself between rounds, as an optimiser's moments: never sent, and in no hash."""

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.arrays[name]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays; packed for a device (:mod:`fedpersona.taste.model_file`) they are fewer."""
        return sum(array.nbytes for array in self.arrays.values())

    def hash(self) -> str:
        """SHA-256 over all of it, in hexadecimal."""
        digest = hashlib.sha256(f"{self.model}\x1f{self.catalogue}\x1f{self.round_number}".encode())
        for name in sorted(self.arrays):
            array = self.arrays[name]
            digest.update(f"\x1f{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def next(self, kept: Mapping[str, NDArray[np.float64]] | None = None, /, **arrays: NDArray[np.floating]) -> Shared:
        """Return the model one round on, with these arrays, rounded to float32, and what the server keeps with it."""
        rounded = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        return Shared(self.model, self.catalogue, self.round_number + 1, rounded, kept or {})


@dataclass(frozen=True, eq=False)
class Private:
    """What one device keeps for itself: a person's own vectors. Never sent, never printed."""

    arrays: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.arrays[name]

    def __repr__(self) -> str:
        return f"Private({', '.join(f'{name} {array.shape}' for name, array in self.arrays.items())})"


class TasteModel(BaseModel, ABC):
    """Settings of a taste model, and its four functions.

    ``personalise``, ``contribute`` and ``scores`` run on a device, for one person; ``apply`` runs on a server, on a
    sum. The settings ``recency`` and ``discount`` act on the device alone: they cost no upload.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for ``--help`` and reports."""

    rounds: int = Field(1, ge=1, le=1000)
    """Secure sums that training takes."""
    noise: float = Field(0.0, ge=0, le=1e9)
    """Standard deviation of the Gaussian noise on the sums, in the units of the layout.

    Above 0 a model takes its private form: its layout states the longest update, and ``apply`` expects noise.
    """
    recency: float | None = Field(None, ge=1e-3)
    """Half-life of a play in the device's query, counted in items played since; None weighs all plays alike.

    Takes effect where a history carries times.
    """
    discount: float = Field(0.0, ge=0, le=1)
    """Popularity discount: scores are divided by ``(listeners + 1) ** discount``."""

    def planned_rounds(self, catalogue: Catalogue) -> int:
        """Return how many of its rounds training takes on this catalogue."""
        return self.rounds

    def suited(self, people: int, items: int) -> Self:
        """Return the model with what it can learn from so many people under its noise; by default as it is.

        It goes by numbers that everyone knows: choosing settings by anybody's history would have to be paid for.
        """
        return self

    @abstractmethod
    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return the model before anything was learned, the same for the same seed."""

    @abstractmethod
    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare what an update of this round holds."""

    @abstractmethod
    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes that the arrays of a shared model of this form have."""

    @abstractmethod
    def ranges(self) -> Mapping[str, Range]:
        """Return the least and the largest that an entry of each array can be; none beyond is of an honest model.

        Within them no score overflows.
        """

    def check(self, shared: Shared, catalogue: Catalogue) -> None:
        """Check a shared model that came from elsewhere, before anything is computed from it.

        Raises:
            LayoutMismatch: it is of another model or catalogue, or an array is missing, unasked for, not float32,
                of another shape, not finite, or out of its range.
        """
        if (shared.model, shared.catalogue) != (self.name, catalogue.version):
            raise LayoutMismatch(f"the shared model is not a {self.name} of catalogue {catalogue.version[:12]}")
        shapes = self.shapes(shared, catalogue)
        if set(shapes) != set(shared.arrays):
            raise LayoutMismatch(f"a {self.name} has the arrays {sorted(shapes)}, not {sorted(shared.arrays)}")
        for name, shape in shapes.items():
            array = shared[name]
            if array.shape != shape or array.dtype != np.float32:
                raise LayoutMismatch(
                    f"the shared model's '{name}' is {array.dtype} {array.shape}, a {self.name} has float32 {shape}"
                )
            if not finite(array):
                raise LayoutMismatch(f"the shared model's '{name}' has an entry that is not finite")
            least, largest = self.ranges()[name]
            if array.size and not (least <= array.min() and array.max() <= largest):
                raise LayoutMismatch(
                    f"the shared model's '{name}' has entries from {array.min():.3g} to {array.max():.3g}, "
                    f"those of an honest {self.name} are from {least:g} to {largest:g}"
                )

    @abstractmethod
    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Device: fit the person's private part from their plays."""

    @abstractmethod
    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Device: make the person's addend, of the shapes that ``layout`` declares for the coming round."""

    @abstractmethod
    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Server: fold in the sum over ``count`` devices."""

    @abstractmethod
    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Device: return one number an item, shape (items,): the higher, the more to this person's taste."""

    def explain(self, shared: Shared, item: int, plays: Plays) -> NDArray[np.float64]:
        """Device: return how much each played item adds to the score of ``item``, aligned with ``plays.items``.

        Up to a positive factor. Zeros where the model does not look at the person at all.
        """
        return np.zeros(len(plays))
