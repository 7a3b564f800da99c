"""Subspace: the leading directions of everyone's taste, by federated subspace iteration (a truncated SVD)."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10, sqrt
from typing import ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.plays import Plays
from fedpersona.randomness import generator
from fedpersona.taste.centred import popular_direction
from fedpersona.taste.counts import shared_vote
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.query import discounted, query_weights
from fedpersona.taste.sketch import directions, floored, heard, starting, voted
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["Subspace"]

Rows: TypeAlias = NDArray[np.integer] | slice | int
_ALL = slice(None)
_UNIT = 1.001  # 1, and room for rounding
_DIM, _DIM_GROWTH = 8.0, 0.35
_STEP_MORE = 150.0
_CLEAR = 2.0  # deviations: fame below that could be noise


class Subspace(TasteModel):
    """Learns an orthonormal basis Q of the normalised play matrix X D^-α, where D counts each item's listeners.

    A round is one step of subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4): a device projects
    its plays, y = x D^-α Q, and adds the outer product of x and y; the server orthonormalises the sum. Every device
    has only ever added one vector to the rows of the items it played.

    In the private form the first round counts votes (:mod:`fedpersona.taste.counts`), of length ``count_share``
    together. They tell the popular direction, which is kept as the first column of the basis and costs nothing more.
    Each further round is a noisy power step beside it (Hardt and Price 2014), on people of equal weight: a device adds
    the direction of its projection times its vote, an update of length 1 (:mod:`fedpersona.taste.sketch`). The
    strengths of the shared model then are what each direction counts in a score, by how much of it is not noise.
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
    count_share: float = Field(0.4, ge=1e-3, le=1e3)
    """Length of the votes of the first round in the private form; that of the others is 1."""

    def used_dim(self, items: int) -> int:
        """Return the dimensions of the space for a catalogue of this size."""
        return min(self.dim, max(1, items // 12))

    def suited(self, people: int, items: int) -> Self:
        """Return the model with as many dimensions and steps as its noise lets so many people fill.

        What can be told apart goes by people over the noise of one step that had the whole budget, times the root of
        the items. A fit to what is best on two public data sets at an ε of 1 and 8, at ten and at a hundred times
        their people. The settings that are there are the most that it takes.
        """
        if not self.noise:
            return self
        budget = sqrt(self.count_share**2 + self.rounds - 1)
        clarity = people * budget / (self.noise * sqrt(items))
        return self.model_copy(
            update={
                "rounds": min(self.rounds, 3 if clarity < _STEP_MORE else 4),
                "dim": max(1, min(self.dim, round(min(_DIM * clarity**_DIM_GROWTH, 0.8 * clarity)))),
                "alpha": min(self.alpha, max(0.0, 0.2 * log10(clarity / 55.0))),
                "shrinkage": min(self.shrinkage, max(0.0, log10(clarity / 500.0))),
            }
        )

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return a random orthonormal basis; in the private form after a column for the popular direction."""
        items = len(catalogue)
        dim = self.used_dim(items)
        start = generator(seed, "subspace basis").standard_normal((items, dim))
        basis = np.linalg.qr(start)[0]
        if self.noise:
            basis = np.hstack([np.zeros((items, 1)), basis])
        return Shared(
            self.name,
            catalogue.version,
            0,
            {
                "basis": basis.astype(np.float32),
                "strength": np.ones(basis.shape[1], np.float32),
                "listeners": np.zeros(items, np.float32),
            },
        )

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare ``sketch`` (items, dim), no row longer than the clip, and ``listeners`` (items,), 0 or 1.

        In the private form a first round has ``listeners`` alone, of length 1, the others ``sketch`` alone, likewise.
        """
        items = len(catalogue)
        if not self.noise:
            return Layout(
                (
                    ArraySpec("sketch", (items, self.used_dim(items)), bound=self.clip),
                    ArraySpec("listeners", (items,), bound=1.0),
                )
            )
        if round_number == 1:
            votes = ArraySpec("listeners", (items,), bound=1.0, unit=1.0 / self.count_share)
            return Layout((votes,), length=self.count_share)
        return Layout((ArraySpec("sketch", (items, self.used_dim(items)), bound=1.0),), length=1.0)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of ``basis``, ``strength`` and ``listeners``."""
        items = len(catalogue)
        columns = self.used_dim(items) + (1 if self.noise else 0)
        return {"basis": (items, columns), "strength": (columns,), "listeners": (items,)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges: an entry of an orthonormal basis is at most 1, a strength is not negative."""
        strength = (0.0, _UNIT if self.noise else np.inf)
        return {"basis": (-_UNIT, _UNIT), "strength": strength, "listeners": COUNT}

    def projector(self, shared: Shared, rows: Rows = _ALL) -> NDArray[np.float64]:
        """Return D^-α Q of these rows, shape (rows, dim): what one play of an item adds to a projection."""
        return self._scaled(shared, rows, -self.alpha)

    def _fame(self, listeners: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return listeners, or votes, as far as they tell anything."""
        least = _CLEAR * self._vote_noise if self.noise else 1.0
        return np.maximum(listeners.astype(np.float64), least)

    @property
    def _vote_noise(self) -> float:
        """Deviation of the noise on votes."""
        return self.noise / self.count_share

    def _scaled(self, shared: Shared, rows: Rows, power: float) -> NDArray[np.float64]:
        fame = self._fame(shared["listeners"][rows])
        return np.asarray(shared["basis"][rows] * fame[..., None] ** power, np.float64)

    def clipped(self, projections: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shorten projections (..., dim) to the clip norm."""
        norms = np.linalg.norm(projections, axis=-1, keepdims=True)
        return np.asarray(projections * np.minimum(1.0, self.clip / np.maximum(norms, 1e-300)), np.float64)

    def added(self, projections: NDArray[np.float64], listened: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return what projections (..., columns) of people with so many items (...) add to the rows of their items."""
        if self.noise:
            return voted(np.ascontiguousarray(projections[..., 1:]), listened)
        return self.clipped(projections)

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Project the person's plays: ``trained`` all alike, ``taste`` with recent plays weighing more."""
        rows = self.projector(shared, plays.items)
        weights = query_weights(plays, self.recency)
        trained = self.added(rows.sum(axis=0), np.asarray(len(plays)))
        return Private({"trained": trained, "taste": (rows * weights[:, None]).sum(axis=0)})

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add the projection to the row of every item played; in a private first round, votes."""
        items = len(shared["listeners"])
        if self.noise and not shared.round_number:
            return Update({"listeners": shared_vote(plays, items)})
        sketch = np.zeros((items, len(private["trained"])))
        sketch[plays.items] = private["trained"]
        if self.noise:
            return Update({"sketch": sketch})
        listeners = np.zeros(items)
        listeners[plays.items] = 1.0
        return Update({"sketch": sketch, "listeners": listeners})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Orthonormalise D^-α times the sum; its singular values are the strengths of the directions."""
        if self.noise:
            return self._apply_noisy(shared, total)
        fame = np.maximum(total["listeners"], 1.0)
        basis, strength, _ = np.linalg.svd(total["sketch"] * fame[:, None] ** -self.alpha, full_matrices=False)
        return shared.next(basis=basis, strength=strength, listeners=total["listeners"])

    def _apply_noisy(self, shared: Shared, total: Update) -> Shared:
        """Begin with what votes tell, or take a step: all from noisy sums, so that nothing here costs privacy."""
        first = not shared.round_number
        listeners = np.maximum(total["listeners"], 0.0) if first else shared["listeners"].astype(np.float64)
        scale = self._fame(listeners) ** -self.alpha
        popular = popular_direction(listeners * scale)
        votes = floored(listeners, self._vote_noise)
        if first:
            basis = starting(shared["basis"][:, 1:], votes * scale**2, popular)
            counts = np.ones(basis.shape[1])
        else:
            believed = scale * heard(total["sketch"], votes, self.noise)
            basis, strength, trust = directions(total["sketch"], believed, popular, self.noise)
            ridge = self.shrinkage * float(np.median(strength))
            counts = trust * strength / np.maximum(strength + ridge, 1e-300)
        return shared.next(
            basis=np.column_stack([popular, basis]), strength=np.append(1.0, counts), listeners=listeners
        )

    def filter(self, shared: Shared) -> NDArray[np.float64]:
        """Return how much each direction counts in a score, shape (columns,)."""
        strength = shared["strength"].astype(np.float64)
        if self.noise:
            return strength
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
