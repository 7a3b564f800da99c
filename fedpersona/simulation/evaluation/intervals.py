"""How sure a mean over people is, and whether two models differ by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, DataError
from fedpersona.randomness import generator

__all__ = ["PairedTest", "bootstrap_interval", "paired_test"]

_CHUNK = 1 << 22
"""How many draws are in memory at once (some 50 MB)."""


@dataclass(frozen=True)
class PairedTest:
    """How one model differs from another on the same people."""

    difference: float
    """Mean of the first minus mean of the second."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    """Upper end of it."""
    p_value: float
    """Probability of a difference at least this large, either way, were the two models exchangeable."""
    people: int
    """How many people both models were measured on."""


def bootstrap_interval(
    values: NDArray[np.floating], seed: int, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron and Tibshirani 1993, section 13.3).

    People are drawn with replacement; a value is one person's. The interval speaks of other people of the
    same kind, not of other seeds of the same model.

    Args:
        values: one finite value a person, shape (people,).
        seed: the run's seed; the same seed gives the same interval.
        level: how much of the bootstrap distribution the interval holds, in (0, 1).
        resamples: how many times people are drawn.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: nobody, or a value that is not finite.
        ConfigError: a level outside (0, 1), or no resamples.
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"the level of an interval lies between 0 and 1, not at {level}")
    if resamples < 1:
        raise ConfigError(f"a bootstrap needs at least one resample, not {resamples}")
    values = _checked(values, "values")
    means = _resampled_means(values, generator(seed, "bootstrap over people"), resamples)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def paired_test(a: NDArray[np.floating], b: NDArray[np.floating], seed: int, resamples: int = 10_000) -> PairedTest:
    """Compare two models on the same people by a paired randomisation test (Smucker et al. 2007).

    Were the models exchangeable, each person's difference could as well have the other sign. The p-value is
    the share of random sign flips whose mean difference is at least as large as the one observed, either way;
    the observed one counts as one of them (Phipson and Smyth 2010, equation 2), so it is never zero. With few
    enough differing people all flips are enumerated and the p-value is exact. The interval is the percentile
    bootstrap of the differences.

    Args:
        a: the first model's value for each person, shape (people,).
        b: the second model's for the same people in the same order.
        seed: the seed of flips and resamples.
        resamples: how many random flips.

    Raises:
        DataError: other people, nobody, or a value that is not finite.
        ConfigError: no resamples.
    """
    if resamples < 1:
        raise ConfigError(f"a randomisation test needs at least one resample, not {resamples}")
    if np.shape(a) != np.shape(b):
        raise DataError(f"a paired test needs the same people twice, not {np.shape(a)} and {np.shape(b)} values")
    differences = _checked(a, "a") - _checked(b, "b")
    low, high = bootstrap_interval(differences, seed)
    return PairedTest(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=_sign_flip_p_value(differences[differences != 0.0], seed, resamples),
        people=len(differences),
    )


def _checked(values: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not numbers.size:
        raise DataError(f"expected one value a person, got shape {numbers.shape}", place=name)
    if not np.isfinite(numbers).all():
        person = int(np.isfinite(numbers).argmin())
        raise DataError(f"the value is {numbers[person]}, which has no mean", place=f"{name}[{person}]")
    return numbers


def _resampled_means(values: NDArray[np.float64], random: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    distinct, counts = np.unique(values, return_counts=True)
    people = len(values)
    if len(distinct) * 8 <= people:
        # NDCG@10 takes eleven values: how often each is drawn is multinomial, whatever the number of people.
        drawn_counts = random.multinomial(people, counts / people, size=resamples)
        return np.asarray(drawn_counts @ distinct / people, np.float64)
    means = np.empty(resamples)
    step = max(1, _CHUNK // people)
    for begin in range(0, resamples, step):
        drawn = random.integers(0, people, (min(step, resamples - begin), people), dtype=np.int32)
        means[begin : begin + step] = values[drawn].mean(axis=1)
    return means


def _sign_flip_p_value(differences: NDArray[np.float64], seed: int, resamples: int) -> float:
    """Return the two-sided p-value; people without a difference are left out, a flip does nothing to them."""
    people = len(differences)
    observed = abs(float(differences.sum()))
    # Sums of the same numbers in another order differ in their last bits and must still count as equal.
    observed -= 1e-12 * float(np.abs(differences).sum())
    if people < 63 and 1 << people <= resamples:
        flips = (np.arange(1 << people)[:, None] >> np.arange(people)) & 1
        return float(np.mean(np.abs((1.0 - 2.0 * flips) @ differences) >= observed))
    random = generator(seed, "paired sign flips")
    as_large, step = 0, max(1, _CHUNK // people)
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        bits = np.unpackbits(random.integers(0, 256, (rows, (people + 7) // 8), dtype=np.uint8), axis=1, count=people)
        sums = differences.sum() - 2.0 * (bits.astype(np.float64) @ differences)
        as_large += int(np.count_nonzero(np.abs(sums) >= observed))
    return (as_large + 1) / (resamples + 1)
