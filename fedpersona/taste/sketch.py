"""Noisy sketches: sums in which a person adds one vector of their own to all they play, and what is left of them.

The vector is always as long as the person's vote is large, so that everybody's update has the length 1, whoever they
are: no clip has to be chosen, and no projection is too short to be heard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Directions", "directions", "floored", "heard", "starting", "unit_vectors", "voted"]

_LEAST = 1e-9  # a vector shorter than this is rounding: it has no direction
_LEAST_VOTES = 0.05  # of the noise on them: nothing is so unknown that it has no votes at all
_LEAST_SHARE = 0.01


def unit_vectors(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring vectors (..., dim) to the length 1; one that is none, or rounding, becomes zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.where(lengths < _LEAST, 0.0, vectors) / np.maximum(lengths, _LEAST), np.float64)


def voted(vectors: NDArray[np.float64], listened: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return unit vectors (..., dim) times 1/√n, for people with n items each, shape (...).

    Added to the rows of these items it makes an update of length 1, or 0 for nobody's history.
    """
    root = np.sqrt(np.maximum(listened, 1).astype(np.float64))
    return np.asarray(unit_vectors(vectors) / root[..., np.newaxis], np.float64)


def floored(votes: NDArray[np.floating], deviation: float) -> NDArray[np.float64]:
    """Return noisy votes, none below a small part of the noise on them."""
    return np.maximum(votes.astype(np.float64), max(_LEAST_VOTES * deviation, 1e-12))


def starting(
    start: NDArray[np.floating], votes: NDArray[np.float64], popular: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return an orthonormal basis to begin with, shape (items, dim): at random, but where there is something to find.

    Rows are in proportion to the root of their items' votes, since a direction has about so much of its length there,
    and the popular direction is left out.

    Args:
        start: random columns.
        votes: above 0, shape (items,).
        popular: the direction that is known already, of length 1 or 0.
    """
    rows = start * np.sqrt(votes / votes.sum())[:, np.newaxis]
    return np.asarray(np.linalg.qr(rows - np.outer(popular, popular @ rows))[0], np.float64)


def heard(sketch: NDArray[np.float64], votes: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Return how much of each row of a noisy sketch to believe, shape (items,), each in (0, 1).

    Empirical Bayes, as James and Stein 1961: the energy of the sketch is that of the noise, which is known, and the
    rest. The rest is taken to lie in rows in proportion to their votes, as Gaussian as the noise is; the best guess
    of a row is then τ² / (τ² + σ²) of what was seen.

    Args:
        sketch: the noisy sum, shape (items, dim).
        votes: above 0, shape (items,).
        deviation: σ of the noise on an entry.
    """
    items, dim = sketch.shape
    seen = float(np.square(sketch).sum())
    signal = max(seen - items * dim * deviation**2, _LEAST_SHARE * seen)
    variance = votes / votes.sum() * (signal / dim)
    return np.asarray(variance / (variance + deviation**2), np.float64)


class Directions(NamedTuple):
    """Singular vectors of a noisy sketch, the strongest first."""

    basis: NDArray[np.float64]
    """Orthonormal, shape (items, dim)."""
    strength: NDArray[np.float64]
    """Singular values, shape (dim,)."""
    trust: NDArray[np.float64]
    """About the cosine between a direction and the one there would be without noise, shape (dim,)."""


def directions(
    sketch: NDArray[np.float64], scale: NDArray[np.float64], popular: NDArray[np.float64], deviation: float
) -> Directions:
    """Return the directions of a sketch whose rows are scaled, beside the popular one.

    Args:
        sketch: the noisy sum, shape (items, dim).
        scale: what rows are multiplied by, shape (items,).
        popular: the direction to leave out, of length 1 or 0.
        deviation: of the noise on an entry of the sketch.
    """
    rows = sketch * scale[:, np.newaxis]
    rows -= np.outer(popular, popular @ rows)
    basis, strength, _ = np.linalg.svd(rows, full_matrices=False)
    noise = deviation**2 * float(np.square(scale).sum())
    share = 1.0 - noise / np.maximum(strength**2, 1e-300)
    return Directions(basis, strength, np.sqrt(np.maximum(share, _LEAST_SHARE)))
