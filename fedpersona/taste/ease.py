"""EASE: a linear model from item to item, exact, from one sum of who-plays-what-together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import FedpersonaError, LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.taste.centred import STEPS, centred, popular_direction, put_back, taken_out
from fedpersona.taste.counts import shared_vote
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.taste.packing import packed_positions, packed_size, unpack
from fedpersona.taste.query import discounted, query_weights
from fedpersona.taste.spectrum import denoised
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["Ease"]

_HEAD, _HEAD_GROWTH, _LEAST_HEAD = 2.6, 0.62, 20


class Ease(TasteModel):
    """Embarrassingly Shallow Autoencoder (Steck 2019) on the head of the catalogue.

    A device adds x xᵀ over head items, as an upper triangle. When the catalogue is larger than the head, a first
    round counts listeners to find it; items of the tail are then scored by their share of listeners, an estimate
    of the same thing (will this person play it?) that looks at nobody.

    In the private form a first round always counts, with votes of length 1 that weigh ``count_share``; the second adds
    y yᵀ over the head, where y is what x has beside the popular direction (:mod:`fedpersona.taste.centred`), of length
    1 as y yᵀ is in the norm of matrices. Both are noisy, and what follows costs nothing more: the head is chosen by
    noisy votes, eigenvalues that noise alone could make are taken out of the noisy sum
    (:mod:`fedpersona.taste.spectrum`), and popularity is put back.
    """

    name: ClassVar[str] = "ease"
    summary: ClassVar[str] = "item-to-item weights from one sum (EASE), whole or head of the catalogue"

    rounds: int = Field(2, ge=1, le=2)
    """At most: one suffices where the head holds the whole catalogue, and one alone only counts where it does not."""
    head: int = Field(5000, ge=1, le=30_000)
    """Items with the most listeners that the linear model covers."""
    ridge: float = Field(100.0, ge=1e-6, le=1e12)
    """Added to the diagonal of the Gram matrix: Steck's λ."""
    ridge_a_person: float = Field(0.0015, ge=1e-9, le=1e3)
    """The same in the private form, for each person in the sum: there everybody adds as much as everybody else."""
    ridge_a_noise: float = Field(3.0, ge=0, le=1e6)
    """And for the noise in the sum, in its standard deviations."""
    count_share: float = Field(0.3, ge=1e-3, le=1e3)
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
        """Return the model with a head as large as its noise lets so many people fill, and its votes their share.

        A fit to what is best on two public data sets at an ε of 1 and 8, and at ten times their people.
        """
        if not self.noise:
            return self
        signal = people / self.noise
        head = round(min(_HEAD * signal**_HEAD_GROWTH, self.head))
        share = round(min(max(0.3 * (1500.0 / signal) ** 0.25, 0.3), 0.6), 1)  # steps, so that noise can settle
        head = max(min(head, items), min(_LEAST_HEAD, self.head, items))
        return self.model_copy(update={"head": head, "count_share": share})

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare ``listeners`` (items,) in a counting round, else ``gram`` (h (h + 1) / 2,); entries are 0 or 1.

        In the private form ``gram`` is in two parts, ``itself`` (h,) and ``pairs`` (h (h - 1) / 2,): a pair stands for
        two entries of the matrix, so that their length together is that of the whole, at most 1.
        """
        head = min(self.head, len(catalogue))
        if self.counts_first(catalogue, round_number):
            votes = ArraySpec("listeners", (len(catalogue),), bound=1.0, unit=1.0 / self.count_share)
            return Layout((votes,), length=self.count_share) if self.noise else Layout((replace(votes, unit=None),))
        if not self.noise:
            return Layout((ArraySpec("gram", (packed_size(head),), bound=1.0),))
        itself, pairs = (head,), (packed_size(head - 1),)
        return Layout((ArraySpec("itself", itself, 1.0), ArraySpec("pairs", pairs, 0.5, unit=sqrt(0.5))), length=1.0)

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
        if self.noise:
            rest = centred(places, popular_direction(shared["listeners"][head])).astype(np.float64)
            rest /= STEPS
            first, second = np.triu_indices(len(head), 1)
            return Update({"itself": rest**2, "pairs": rest[first] * rest[second]})
        gram = np.zeros(packed_size(len(head)))
        gram[packed_positions(places, len(head))] = 1.0
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
            if self.noise:
                gram = self._gram(total, listeners[head], count)
                ridge = self.ridge_a_person * count + self.ridge_a_noise * self.noise
            else:
                gram, ridge = unpack(total["gram"], len(head)), self.ridge
                listeners[head] = np.diagonal(gram)
            weights = ease_weights(gram, ridge)
        return shared.next(
            head=head.astype(np.float64),
            weights=weights,
            listeners=listeners,
            people=np.array([float(count)]),
        )

    def _gram(self, total: Update, votes: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Return what is left of a noisy sum of centred histories without its noise, with popularity put back."""
        head = len(votes)
        gram = np.zeros((head, head))
        gram[np.triu_indices(head, 1)] = total["pairs"]
        gram += gram.T
        gram[np.diag_indices(head)] = total["itself"]
        popular = popular_direction(votes)
        return put_back(denoised(taken_out(gram, popular), self.noise * sqrt(0.5)), votes, popular, count)

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
