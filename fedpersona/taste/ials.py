"""iALS: implicit alternating least squares, exact, from sums of per-item statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.randomness import generator
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.packing import pack_outer, packed_size, unpack
from fedpersona.taste.query import discounted, query_weights
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["IALS"]

_ITEM_BLOCK = 4096
"""Items whose d × d systems the server solves at once: bounds its memory."""


class IALS(TasteModel):
    """Matrix factorisation for implicit feedback (Hu, Koren and Volinsky 2008), with the frequency-scaled
    regularisation of Rendle et al. 2022 ("Revisiting the performance of iALS", section 3).

    A device solves for its own vector p from the item factors (closed form), then adds p pᵀ for everyone and, for
    each item it played, p pᵀ and p: with these sums the server solves for every item exactly, as if it had the
    whole matrix.
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

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return normally distributed factors."""
        factors = generator(seed, "ials factors").standard_normal((len(catalogue), self.dim))
        factors *= self.spread / np.sqrt(self.dim)
        return self._shared(Shared(self.name, catalogue.version, -1, {}), factors, np.zeros(len(catalogue)))

    def _shared(self, before: Shared, factors: NDArray[np.float64], listeners: NDArray[np.float64]) -> Shared:
        factors = factors.astype(np.float32).astype(np.float64)  # the Gram matrix of what devices will see
        return before.next(factors=factors, gram=factors.T @ factors, listeners=listeners)

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare the statistics; an entry of p pᵀ is at most the squared clip norm."""
        items, packed = len(catalogue), packed_size(self.dim)
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

        Hu et al. 2008, equation 4, with α on every item and 1 more (times the weight) on played ones.
        """
        rows = shared["factors"][items].astype(np.float64)
        weighted = rows * weights[:, None]
        alpha = self.unseen / len(shared["factors"])
        system = alpha * shared["gram"].astype(np.float64) + weighted.T @ rows
        system[np.diag_indices_from(system)] += self.ridge * (weights.sum() + self.unseen)
        return np.asarray(np.linalg.solve(system, weighted.sum(axis=0)), np.float64)

    def clipped(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shorten vectors (..., dim) to the clip norm."""
        norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return np.asarray(vectors * np.minimum(1.0, self.clip / np.maximum(norms, 1e-300)), np.float64)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of ``factors``, ``gram`` and ``listeners``."""
        items = len(catalogue)
        return {"factors": (items, self.dim), "gram": (self.dim, self.dim), "listeners": (items,)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges; :meth:`check` holds the Gram matrix against the factors."""
        return {"factors": (-1e6, 1e6), "gram": (-np.inf, np.inf), "listeners": COUNT}

    def check(self, shared: Shared, catalogue: Catalogue) -> None:
        """Check the arrays, and that ``gram`` is that of the factors: with another one a solution could be anything."""
        super().check(shared, catalogue)
        factors = shared["factors"].astype(np.float64)
        gram = factors.T @ factors
        if not np.allclose(shared["gram"], gram, rtol=1e-5, atol=1e-6 * float(np.trace(gram)) / self.dim):
            raise LayoutMismatch("the shared model's 'gram' is not the Gram matrix of its 'factors'")

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Solve for the person's vector: ``trained`` all plays alike, ``taste`` with recent plays weighing more."""
        trained = self.solve_person(shared, plays.items, np.ones(len(plays)))
        if self.recency is None or plays.last_played is None:
            return Private({"trained": self.clipped(trained), "taste": trained})
        taste = self.solve_person(shared, plays.items, query_weights(plays, self.recency))
        return Private({"trained": self.clipped(trained), "taste": taste})

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add the vector, and its outer product, to the rows of every item played."""
        vector = private["trained"]
        items = len(shared["factors"])
        outer = pack_outer(vector)
        item_gram = np.zeros((items, outer.size))
        item_gram[plays.items] = outer
        item_sum = np.zeros((items, vector.size))
        item_sum[plays.items] = vector
        listeners = np.zeros(items)
        listeners[plays.items] = 1.0
        return Update({"people_gram": outer, "item_gram": item_gram, "item_sum": item_sum, "listeners": listeners})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Solve for every item, as in Hu et al. 2008, equation 5."""
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
