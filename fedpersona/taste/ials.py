"""iALS: implicit alternating least squares, exact, from sums of per-item statistics."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.randomness import generator
from fedpersona.taste.centred import popular_direction
from fedpersona.taste.counts import shared_vote
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.packing import pack_outer, packed_size, unpack
from fedpersona.taste.query import discounted, query_weights
from fedpersona.taste.sketch import directions, floored, heard, starting, voted
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["IALS"]

_ITEM_BLOCK = 4096
"""Items whose d × d systems the server solves at once: bounds its memory."""
_FACTOR = 1e6
"""Largest entry of a factor."""
_CLEAR, _ROUND_MORE = 42.0, 4.0
_BEGINNING = 0.25
"""Length of an initial column of factors in the private form, of that of the popular one."""
_LENGTHENED = 2.0
"""Factors are this much longer than solved for in the private form: what was taken for noise is missing in them."""


class IALS(TasteModel):
    """Matrix factorisation for implicit feedback (Hu, Koren and Volinsky 2008), with the frequency-scaled
    regularisation of Rendle et al. 2022 ("Revisiting the performance of iALS", section 3).

    A device solves for its own vector p from the item factors (closed form), then adds p pᵀ for everyone and, for
    each item it played, p pᵀ and p: with these sums the server solves for every item exactly, as if it had the
    whole matrix.

    The private form sends no p pᵀ for an item: these are most of the numbers, and most of the noise would be on them.
    A first round counts votes (:mod:`fedpersona.taste.counts`), of length ``count_share`` together, and tells the
    popular factor, the first of everyone. In each further round a device solves for its vector as ever, and adds the
    direction that it has beside the popular factor times its vote, an update of length 1
    (:mod:`fedpersona.taste.sketch`). The server solves as if vectors pointed everywhere alike, so that every matrix of
    the exact form is a multiple of the identity that votes tell: no longer exact, and far less noisy.
    """  # noqa: D205

    name: ClassVar[str] = "ials"
    summary: ClassVar[str] = "matrix factorisation by exact alternating least squares"

    rounds: int = Field(4, ge=1, le=1000)
    dim: int = Field(64, ge=1, le=1024)
    """Dimensions of the factors."""
    unseen: float = Field(600.0, ge=1e-3, le=1e9)
    """Total weight of all that a person has not played: each item gets ``unseen / items`` (the α of the papers)."""
    ridge: float = Field(0.01, ge=1e-6, le=1e6)
    """Regularisation, scaled by how often an item or a person occurs: the λ of the papers."""
    spread: float = Field(1.0, ge=1e-6, le=1e3)
    """Standard deviation of the initial factors times the root of ``dim``."""
    clip: float = Field(4.0, ge=1e-6, le=1e6)
    """A device's vector is shortened to this length before it is added."""
    count_share: float = Field(0.4, ge=1e-3, le=1e3)
    """Length of the votes of the first round in the private form; that of the others is 1."""
    likeness: float = Field(10.0, ge=0, le=1e3)
    """How much more than people at large those who play the same item are alike, in the private form."""
    caution: float = Field(4.0, ge=0, le=16)
    """How fast a direction loses weight with the noise in it, in the private form: as a power of its cosine."""

    def used_dim(self, items: int) -> int:
        """Return the dimensions of what is solved for; in the private form at most a twelfth of the catalogue."""
        return min(self.dim, max(1, items // 12)) if self.noise else self.dim

    def suited(self, people: int, items: int) -> Self:
        """Return the model with as many dimensions and rounds as its noise lets so many people fill.

        What can be told apart goes by people over the noise of one round that had the whole budget, times the root of
        the items. A fit to what is best on two public data sets at an ε of 8, at ten and at a hundred times their
        people. The settings that are there are the most that it takes.
        """
        if not self.noise:
            return self
        budget = sqrt(self.count_share**2 + self.rounds - 1)
        clarity = people * budget / (self.noise * sqrt(items)) / _CLEAR
        return self.model_copy(
            update={
                "rounds": min(self.rounds, 3 if clarity < _ROUND_MORE else 4),
                "dim": max(1, min(self.dim, round(16 * clarity**0.6))),
                "ridge": max(1e-6, min(self.ridge, 0.003 * clarity**-0.5)),
                "likeness": min(self.likeness, clarity**0.7),
                "caution": min(self.caution, 4.0 * clarity**-0.6),
            }
        )

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return normally distributed factors; in the private form after a column for the popular one."""
        items, dim = len(catalogue), self.used_dim(len(catalogue))
        factors = generator(seed, "ials factors").standard_normal((items, dim))
        factors *= self.spread / np.sqrt(dim)
        if self.noise:
            factors = np.hstack([np.zeros((items, 1)), factors])
        return self._shared(Shared(self.name, catalogue.version, -1, {}), factors, np.zeros(items))

    def _shared(self, before: Shared, factors: NDArray[np.float64], listeners: NDArray[np.float64]) -> Shared:
        factors = factors.astype(np.float32).astype(np.float64)  # the Gram matrix of what devices will see
        return before.next(factors=factors, gram=factors.T @ factors, listeners=listeners)

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare the statistics; an entry of p pᵀ is at most the squared clip norm.

        In the private form a first round has ``listeners`` alone, of length 1, the others ``item_sum`` alone, likewise.
        """
        items, packed = len(catalogue), packed_size(self.dim)
        if self.noise and round_number == 1:
            votes = ArraySpec("listeners", (items,), bound=1.0, unit=1.0 / self.count_share)
            return Layout((votes,), length=self.count_share)
        if self.noise:
            return Layout((ArraySpec("item_sum", (items, self.used_dim(items)), bound=1.0),), length=1.0)
        return Layout(
            (
                ArraySpec("people_gram", (packed,), bound=self.clip**2),
                ArraySpec("item_gram", (items, packed), bound=self.clip**2),
                ArraySpec("item_sum", (items, self.dim), bound=self.clip),
                ArraySpec("listeners", (items,), bound=1.0),
            )
        )

    def solve_person(
        self, shared: Shared, items: NDArray[np.integer], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the vector of a person who played ``items`` with ``weights``, shape (dim,).

        Hu et al. 2008, equation 4, with α on every item and 1 more (times the weight) on played ones. Zeros where that
        has no solution: factors of a server that lies, and who answers then must not depend on what they played.
        """
        rows = shared["factors"][items].astype(np.float64)
        weighted = rows * weights[:, None]
        alpha = self.unseen / len(shared["factors"])
        system = alpha * shared["gram"].astype(np.float64) + weighted.T @ rows
        system[np.diag_indices_from(system)] += self.ridge * (weights.sum() + self.unseen)
        try:
            return np.asarray(np.linalg.solve(system, weighted.sum(axis=0)), np.float64)
        except np.linalg.LinAlgError:
            return np.zeros(len(system))

    def clipped(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shorten vectors (..., dim) to the clip norm."""
        norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.asarray(vectors * np.minimum(1.0, self.clip / np.maximum(norms, 1e-300)), np.float64)

    def added(self, vectors: NDArray[np.float64], listened: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return what the vectors (..., columns) of people with so many items (...) add to the rows of their items."""
        if self.noise:
            return voted(np.ascontiguousarray(vectors[..., 1:]), listened)
        return self.clipped(vectors)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of ``factors``, ``gram`` and ``listeners``."""
        items = len(catalogue)
        columns = self.used_dim(items) + (1 if self.noise else 0)
        return {"factors": (items, columns), "gram": (columns, columns), "listeners": (items,)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges; :meth:`check` holds the Gram matrix against the factors."""
        return {"factors": (-_FACTOR, _FACTOR), "gram": (-np.inf, np.inf), "listeners": COUNT}

    def check(self, shared: Shared, catalogue: Catalogue) -> None:
        """Check the arrays, and that ``gram`` is that of the factors: with another one a solution could be anything."""
        super().check(shared, catalogue)
        factors = shared["factors"].astype(np.float64)
        gram = factors.T @ factors
        if not np.allclose(shared["gram"], gram, rtol=1e-5, atol=1e-6 * float(np.trace(gram)) / len(gram)):
            raise LayoutMismatch("the shared model's 'gram' is not the Gram matrix of its 'factors'")

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Solve for the person's vector: ``trained`` all plays alike, ``taste`` with recent plays weighing more."""
        solved = self.solve_person(shared, plays.items, np.ones(len(plays)))
        trained = self.added(solved, np.asarray(len(plays)))
        if self.recency is None or plays.last_played is None:
            return Private({"trained": trained, "taste": solved})
        taste = self.solve_person(shared, plays.items, query_weights(plays, self.recency))
        return Private({"trained": trained, "taste": taste})

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add the vector, and its outer product, to the rows of every item played; in the private form less."""
        vector = private["trained"]
        items = len(shared["factors"])
        if self.noise and not shared.round_number:
            return Update({"listeners": shared_vote(plays, items)})
        item_sum = np.zeros((items, vector.size))
        item_sum[plays.items] = vector
        if self.noise:
            return Update({"item_sum": item_sum})
        outer = pack_outer(vector)
        item_gram = np.zeros((items, outer.size))
        item_gram[plays.items] = outer
        listeners = np.zeros(items)
        listeners[plays.items] = 1.0
        return Update({"people_gram": outer, "item_gram": item_gram, "item_sum": item_sum, "listeners": listeners})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Solve for every item, as in Hu et al. 2008, equation 5."""
        if self.noise:
            return self._apply_noisy(shared, total, count)
        alpha = self.unseen / len(shared["factors"])
        everyone = alpha * unpack(total["people_gram"], self.dim)
        listeners = total["listeners"]
        factors = np.empty((len(listeners), self.dim))
        diagonal = np.arange(self.dim)
        for start in range(0, len(listeners), _ITEM_BLOCK):
            block = slice(start, start + _ITEM_BLOCK)
            systems = unpack(total["item_gram"][block], self.dim)
            systems += everyone
            systems[:, diagonal, diagonal] += (self.ridge * (listeners[block] + alpha * count))[:, None]
            factors[block] = np.linalg.solve(systems, total["item_sum"][block][..., None])[..., 0]
        return self._shared(shared, factors, listeners)

    def _apply_noisy(self, shared: Shared, total: Update, count: int) -> Shared:
        """Begin with what votes tell, or solve for the items: all from noisy sums, so that it costs no privacy.

        A vote is 1/√n, so votes times the mean of √n are listeners, about; and all votes together are its sum.
        """
        first = not shared.round_number
        listeners = np.maximum(total["listeners"], 0.0) if first else shared["listeners"].astype(np.float64)
        popular, votes = popular_direction(listeners), floored(listeners, self.noise / self.count_share)
        people = max(count, 1)
        root = max(float(listeners.sum()) / people, 1.0)
        unplayed, played = self.unseen / len(votes) * people, votes * root
        known = played / (played + unplayed)
        if first:
            rest = _BEGINNING * float(np.linalg.norm(known)) * starting(shared["factors"][:, 1:], votes, popular)
        else:
            sums = total["item_sum"]
            basis, strength, trust = directions(sums, heard(sums, votes, self.noise), popular, self.noise)
            system = (unplayed + self.likeness * played) / sums.shape[1] + self.ridge * (played + unplayed)
            # The root of the spectrum is between that of the sums, ruled by the first direction, and a flat one. People
            # are solved for from what is left: a direction that is half noise does more harm than good.
            spectrum = np.sqrt(strength * strength.max(initial=0.0)) * trust**self.caution
            rest = _LENGTHENED * root * basis * spectrum / system[:, None]
        factors = np.clip(np.column_stack([known, rest]), -_FACTOR, _FACTOR)
        return self._shared(shared, factors, listeners)

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the product of the person's vector with every item's."""
        return discounted(shared["factors"] @ private["taste"], shared["listeners"], self.discount)

    def explain(self, shared: Shared, item: int, plays: Plays) -> NDArray[np.float64]:
        """Return each play's part of the score (Hu et al. 2008, section 5), exact for this model."""
        weights = query_weights(plays, self.recency)
        rows = shared["factors"][plays.items].astype(np.float64)
        weighted = rows * weights[:, None]
        system = self.unseen / len(shared["factors"]) * shared["gram"].astype(np.float64) + weighted.T @ rows
        system[np.diag_indices_from(system)] += self.ridge * (weights.sum() + self.unseen)
        return np.asarray(weighted @ np.linalg.solve(system, shared["factors"][item].astype(np.float64)), np.float64)
