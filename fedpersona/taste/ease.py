"""EASE: a linear model from item to item, exact, from one sum of who-plays-what-together."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import FedpersonaError, LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.taste.counts import shared_vote
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.packing import diagonal_positions, packed_positions, packed_size, unpack
from fedpersona.taste.query import discounted, query_weights
from fedpersona.taste.spectrum import denoised
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["Ease"]

_HEAD, _HEAD_GROWTH, _LEAST_HEAD = 3.35, 0.6, 20


class Ease(TasteModel):
    """Embarrassingly Shallow Autoencoder (Steck 2019) on the head of the catalogue.

    A device adds x xᵀ over head items, as an upper triangle. When the catalogue is larger than the head, a first
    round counts listeners to find it; items of the tail are then scored by their share of listeners, an estimate
    of the same thing (will this person play it?) that looks at nobody.

    In the private form a first round always counts, with votes of length 1 that weigh ``count_share``; the second adds
    x xᵀ/‖x‖² over the head, of length 1 in the norm of matrices. Both are noisy, and what follows costs nothing more:
    the head is chosen by noisy votes, and eigenvalues that noise alone could make are taken out of the noisy sum
    (:mod:`fedpersona.taste.spectrum`).
    """

    name: ClassVar[str] = "ease"
    summary: ClassVar[str] = "item-to-item weights from one sum (EASE), whole or head of the catalogue"

    rounds: int = Field(2, ge=1, le=2)
    """At most: one suffices where the head holds the whole catalogue, and one alone only counts where it does not."""
    head: int = Field(5000, ge=1, le=30_000)
    """Items with the most listeners that the linear model covers."""
    ridge: float = Field(100.0, ge=1e-6, le=1e12)
    """Added to the diagonal of the Gram matrix: Steck's λ."""
    ridge_under_noise: float = Field(3.0, ge=1e-6, le=1e12)
    """The same in the private form, where everybody adds as much as everybody else."""
    count_share: float = Field(0.4, ge=1e-3, le=1e3)
    """Length of the votes of the first round in the private form; that of the second is 1."""

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return a model that knows nothing; its head is the catalogue where that fits."""
        items = len(catalogue)
        whole = not self.counts_first(catalogue, 1)
        return Shared(
            self.name,
            catalogue.version,
            0,
            {
                "head": np.arange(items if whole else 0, dtype=np.float32),
                "weights": np.zeros((0, 0), np.float32),
                "listeners": np.zeros(items, np.float32),
                "people": np.zeros(1, np.float32),
            },
        )

    def planned_rounds(self, catalogue: Catalogue) -> int:
        """Return 1 where the head holds the whole catalogue and is not to be found under noise, else ``rounds``."""
        return self.rounds if self.counts_first(catalogue, 1) else 1

    def counts_first(self, catalogue: Catalogue, round_number: int) -> bool:
        """Whether this round only counts listeners, to find the head."""
        return round_number == 1 and (self.noise > 0 or len(catalogue) > self.head)

    def suited(self, people: int, items: int) -> Self:
        """Return the model with a head as large as its noise lets so many people fill.

        A fit to the best heads of two data sets at an ε of 1 and 8, and at ten times their people.
        """
        head = round(_HEAD * (people / self.noise) ** _HEAD_GROWTH) if self.noise else self.head
        return self.model_copy(update={"head": max(min(head, self.head, items), min(_LEAST_HEAD, self.head))})

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare ``listeners`` (items,) in a counting round, else ``gram`` (h (h + 1) / 2,); entries are 0 or 1.

        In the private form they are from 0 to 1, and pairs in ``gram`` count √2-fold, so that its length is that of the
        whole matrix.
        """
        counts = self.counts_first(catalogue, round_number)
        array = ("listeners", (len(catalogue),)) if counts else ("gram", (packed_size(min(self.head, len(catalogue))),))
        if not self.noise:
            return Layout((ArraySpec(*array, bound=1.0),))
        share = self.count_share if counts else 1.0
        return Layout((ArraySpec(*array, bound=1.0, unit=1.0 / share),), length=share)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of all arrays; the head is empty until it is found, the weights until they are solved."""
        head = shared.arrays["head"].size if "head" in shared.arrays else 0
        side = head if "weights" in shared.arrays and shared["weights"].size else 0
        return {"head": (head,), "weights": (side, side), "listeners": (len(catalogue),), "people": (1,)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges; a weight is at most the root of the condition of the ridged Gram matrix."""
        return {"head": COUNT, "weights": (-1e6, 1e6), "listeners": COUNT, "people": COUNT}

    def check(self, shared: Shared, catalogue: Catalogue) -> None:
        """Check the arrays, and that the head is rows of the catalogue, as many as there should be."""
        super().check(shared, catalogue)
        head, items = shared["head"], len(catalogue)
        wanted = 0 if self.counts_first(catalogue, shared.round_number + 1) else min(self.head, items)
        rows = head.astype(np.int64)
        if len(head) != wanted or (rows != head).any() or (np.diff(rows) <= 0).any():
            raise LayoutMismatch("the shared model's 'head' is not a list of catalogue rows, each once and in order")
        if len(head) and not 0 <= rows[0] <= rows[-1] < items:
            raise LayoutMismatch("the shared model's 'head' names rows that the catalogue does not have")

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Nothing is fitted: the person's plays are the query."""
        return Private()

    def head_rows(self, shared: Shared) -> NDArray[np.int64]:
        """Return the catalogue rows of the head, increasing."""
        return shared["head"].astype(np.int64)

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add 1 for every pair of head items the person played (or, to find the head, for every item)."""
        head = self.head_rows(shared)
        if not len(head) and self.noise:
            return Update({"listeners": shared_vote(plays, len(shared["listeners"]))})
        if not len(head):
            listeners = np.zeros(shared["listeners"].shape)
            listeners[plays.items] = 1.0
            return Update({"listeners": listeners})
        places = np.flatnonzero(np.isin(head, plays.items))
        gram = np.zeros(packed_size(len(head)))
        if not self.noise:
            gram[packed_positions(places, len(head))] = 1.0
        elif len(places):
            itself, pair = gram_votes(len(places))
            gram[packed_positions(places, len(head))] = pair
            gram[diagonal_positions(places, len(head))] = itself
        return Update({"gram": gram})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Solve for the weights, or choose the head."""
        head = self.head_rows(shared)
        listeners = shared["listeners"].astype(np.float64)
        if not len(head):
            listeners = np.maximum(total["listeners"], 0.0)
            head = np.sort(np.argsort(-listeners, kind="stable")[: self.head])
            weights = np.zeros((0, 0))
        else:
            gram = unpack(total["gram"], len(head))
            if self.noise:
                weights = ease_weights(denoised(gram, self.noise), self.ridge_under_noise)
            else:
                listeners[head] = np.diagonal(gram)
                weights = ease_weights(gram, self.ridge)
        return shared.next(
            head=head.astype(np.float64),
            weights=weights,
            listeners=listeners,
            people=np.array([float(count)]),
        )

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the sum of weights from each played item; in the tail, the share of people who play it."""
        head = self.head_rows(shared)
        share = shared["listeners"].astype(np.float64) / max(float(shared["people"][0]), 1.0)
        if shared["weights"].size:
            played = np.isin(plays.items, head)
            query = query_weights(plays, self.recency)[played]
            places = np.searchsorted(head, plays.items[played])
            share[head] = query @ shared["weights"][places].astype(np.float64)
        return discounted(share, shared["listeners"], self.discount)

    def explain(self, shared: Shared, item: int, plays: Plays) -> NDArray[np.float64]:
        """Return the weight from each played item to this one; zeros for an item of the tail."""
        head = self.head_rows(shared)
        parts = np.zeros(len(plays))
        place = int(np.searchsorted(head, item))
        if shared["weights"].size and place < len(head) and head[place] == item:
            played = np.isin(plays.items, head)
            places = np.searchsorted(head, plays.items[played])
            parts[played] = shared["weights"][places, place]
        return parts * query_weights(plays, self.recency)


def gram_votes(listened: int) -> tuple[float, float]:
    """Return a person's addend to an item of ``listened`` with itself, and to a pair: x xᵀ/‖x‖², pairs √2-fold."""
    return 1.0 / listened, sqrt(2.0) / listened if listened > 1 else 0.0


def ease_weights(gram: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return B = I - P diag(P)^-1 with P = (G + λ I)^-1 (Steck 2019, equation 8). Overwrites ``gram``.

    Args:
        gram: G, float64, shape (items, items), symmetric and positive semi-definite.
        ridge: λ.

    Raises:
        FedpersonaError: G is not positive semi-definite.
    """
    from scipy.linalg import lapack  # the server's part: no device loads it

    gram[np.diag_indices_from(gram)] += ridge
    factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if not failed:
        factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise FedpersonaError("the sum of x xᵀ is not positive definite: it is no sum of honest contributions")
    inverse = np.tril(factor)
    inverse += np.tril(factor, -1).T
    diagonal = np.diagonal(inverse).copy()
    inverse /= -diagonal[None, :]
    np.fill_diagonal(inverse, 0.0)
    return np.asarray(inverse, np.float64)
