"""Tests of uniformity that an honest mask fails once in 10^12."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

LEAST = 1e-12


def chance_of(counts: np.ndarray) -> float:
    """Return how likely counts so far from equal ones are (Pearson's chi-square); of many, also so near to them."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2).sum() / expected
    above = chi2.sf(statistic, counts.size - 1)
    return float(2 * min(above, chi2.cdf(statistic, counts.size - 1)) if counts.size > 100 else above)


def looks_uniform(words: np.ndarray) -> bool:
    """Whether bytes, the lowest bit of each word, and neighbouring words look drawn at random."""
    data = words.view(np.uint8)
    low = (words & 1).astype(np.int64)
    pairs = 2 * low[:-1] + low[1:]
    return (
        chance_of(np.bincount(data, minlength=256)) > LEAST
        and chance_of(np.bincount(low, minlength=2)) > LEAST
        and chance_of(np.bincount(pairs[::2], minlength=4)) > LEAST
    )
