"""Subspace: the leading directions of everyone's taste, by federated subspace iteration (a truncated SVD)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.plays import Plays
from fedpersona.randomness import generator
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.query import discounted, query_weights
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["Subspace"]

Rows: TypeAlias = NDArray[np.integer] | slice | int
_ALL = slice(None)
_UNIT = 1.001  # 1, and room for rounding


class Subspace(TasteModel):
    """Learns an orthonormal basis Q of the normalised play matrix X D^-α, where D counts each item's listeners.

    A round is one step of subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4): a device projects
    its plays, y = x D^-α Q, and adds the outer product of x and y; the server orthonormalises the sum. Every device
    has only ever added one vector to the rows of the items it played.
    """

    name: ClassVar[str] = "subspace"
    summary: ClassVar[str] = "a shared taste space in a few small sums (federated SVD)"

    rounds: int = Field(4, ge=1, le=1000)
    dim: int = Field(128, ge=1, le=4096)
    """Dimensions of the space; at most a twelfth of the catalogue is used."""
    alpha: float = Field(0.4, ge=0, le=1)
    """How much the fame of an item is taken out before the space is fitted."""
    shrinkage: float = Field(1.0, ge=0, le=1e9)
    """Ridge on weak directions, in units of the median strength: direction j counts s_j / (s_j + ridge)."""
    clip: float = Field(16.0, ge=1e-6, le=1e6)
    """A device's projection is shortened to this length; none of the project's data sets reaches it."""

    def used_dim(self, items: int) -> int:
        """Return the dimensions of the space for a catalogue of this size."""
        return min(self.dim, max(1, items // 12))

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return a random orthonormal basis."""
        items = len(catalogue)
        dim = self.used_dim(items)
        start = generator(seed, "subspace basis").standard_normal((items, dim))
        return Shared(
            self.name,
            catalogue.version,
            0,
            {
                "basis": np.linalg.qr(start)[0].astype(np.float32),
                "strength": np.ones(dim, np.float32),
                "listeners": np.zeros(items, np.float32),
            },
        )

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare ``sketch`` (items, dim), no row longer than the clip, and ``listeners`` (items,), 0 or 1."""
        items = len(catalogue)
        return Layout(
            (
                ArraySpec("sketch", (items, self.used_dim(items)), bound=self.clip),
                ArraySpec("listeners", (items,), bound=1.0),
            )
        )

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of ``basis``, ``strength`` and ``listeners``."""
        items = len(catalogue)
        dim = self.used_dim(items)
        return {"basis": (items, dim), "strength": (dim,), "listeners": (items,)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges: an entry of an orthonormal basis is at most 1, a strength is not negative."""
        return {"basis": (-_UNIT, _UNIT), "strength": (0.0, np.inf), "listeners": COUNT}

    def projector(self, shared: Shared, rows: Rows = _ALL) -> NDArray[np.float64]:
        """Return D^-α Q of these rows, shape (rows, dim): what one play of an item adds to a projection."""
        return self._scaled(shared, rows, -self.alpha)

    def _scaled(self, shared: Shared, rows: Rows, power: float) -> NDArray[np.float64]:
        fame = np.maximum(shared["listeners"][rows].astype(np.float64), 1.0)
        return np.asarray(shared["basis"][rows] * fame[..., None] ** power, np.float64)

    def clipped(self, projections: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shorten projections (..., dim) to the clip norm."""
        norms = np.linalg.norm(projections, axis=-1, keepdims=True)
        return np.asarray(projections * np.minimum(1.0, self.clip / np.maximum(norms, 1e-300)), np.float64)

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Project the person's plays: ``trained`` all alike, ``taste`` with recent plays weighing more."""
        rows = self.projector(shared, plays.items)
        weights = query_weights(plays, self.recency)
        return Private({"trained": self.clipped(rows.sum(axis=0)), "taste": (rows * weights[:, None]).sum(axis=0)})

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add the projection to the row of every item played."""
        sketch = np.zeros(shared["basis"].shape)
        sketch[plays.items] = private["trained"]
        listeners = np.zeros(shared["listeners"].shape)
        listeners[plays.items] = 1.0
        return Update({"sketch": sketch, "listeners": listeners})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Orthonormalise D^-α times the sum; its singular values are the strengths of the directions."""
        fame = np.maximum(total["listeners"], 1.0)
        basis, strength, _ = np.linalg.svd(total["sketch"] * fame[:, None] ** -self.alpha, full_matrices=False)
        return shared.next(basis=basis, strength=strength, listeners=total["listeners"])

    def filter(self, shared: Shared) -> NDArray[np.float64]:
        """Return how much each direction counts in a score, shape (dim,)."""
        strength = shared["strength"].astype(np.float64)
        ridge = self.shrinkage * float(np.median(strength))
        return strength / np.maximum(strength + ridge, 1e-300)

    def reader(self, shared: Shared, rows: Rows = _ALL) -> NDArray[np.float64]:
        """Return D^α Q of these rows, directions filtered, shape (rows, dim): a taste times it gives scores."""
        return self._scaled(shared, rows, self.alpha) * self.filter(shared)

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the person's plays as the space remembers them."""
        return discounted(self.reader(shared) @ private["taste"], shared["listeners"], self.discount)

    def explain(self, shared: Shared, item: int, plays: Plays) -> NDArray[np.float64]:
        """Return each play's part of the item's score: the score is linear in the plays."""
        parts = self.projector(shared, plays.items) @ self.reader(shared, item)
        return np.asarray(parts * query_weights(plays, self.recency), np.float64)
