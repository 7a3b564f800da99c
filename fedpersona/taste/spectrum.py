"""What a noisy sum of outer products still tells: eigenvalues above those that noise alone would have."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["denoised", "noise_edge"]


def noise_edge(size: int, deviation: float) -> float:
    """Return the largest eigenvalue that symmetric noise has, as its size grows: 2 σ √n (Wigner's semicircle).

    Args:
        size: rows.
        deviation: σ of an entry off the diagonal.
    """
    return 2.0 * deviation * sqrt(size)


def denoised(gram: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Return the matrix without noise as far as its spectrum tells, positive semi-definite. Overwrites ``gram``.

    An eigenvalue θ above half the noise's edge e shows as w = θ + e²/4θ, any smaller one as noise (Benaych-Georges
    and Nadakuditi 2011, theorem 2.1). Of each w above the edge, w - e²/w is kept: less than θ, since the direction it
    belongs to is off as well; all else is taken out.

    Args:
        gram: float64, shape (n, n), symmetric.
        deviation: σ of the noise on an entry off the diagonal; on the diagonal it is √2 times as much.
    """
    from scipy.linalg import eigh  # the server's part: no device loads it

    edge = noise_edge(len(gram), deviation)
    values, vectors = eigh(gram, overwrite_a=True, check_finite=False, subset_by_value=(edge, np.inf))
    kept = values - edge**2 / np.maximum(values, edge)
    return np.asarray((vectors * kept) @ vectors.T, np.float64)
