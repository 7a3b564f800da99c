"""What Gaussian noise is worth, exactly: between (ε, δ) and one number, μ.

A release whose noise deviates by ``z`` times its sensitivity is μ-Gaussian-DP with μ = 1/z: telling it from the
release without one person is exactly as hard as telling N(0, 1) from N(μ, 1). The squares of μ add up over releases
(Dong, Roth, Su 2022, corollary 3.3), and (Balle, Wang 2018, theorem 8)

    δ(ε) = Φ(μ/2 - ε/μ) - e^ε · Φ(-μ/2 - ε/μ)

is tight. Every answer is on the careful side: δ and ε are rounded up, μ down, by more than the arithmetic can be wrong.
Standard library and numpy only: a device keeps its own account with it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError

__all__ = ["composed", "gaussian_delta", "gaussian_epsilon", "gaussian_mu"]

_ULP = sys.float_info.epsilon
_LEAST = sys.float_info.min
"""No δ is said to be below the smallest normal number: under it, rounding up by a factor says nothing."""

_NARROW = 1.0
"""Up to this μ the two terms are nearly equal: their difference is integrated instead of taken."""

_ERFC_TO = 6.0
_FRACTION_TERMS = 80
_NODES = 64


def composed(multipliers: Iterable[float]) -> float:
    """Return the μ of many releases together: the root of the sum of 1/z².

    Args:
        multipliers: noise deviation over sensitivity, one for each release that a person is in. 0 is a release without
            noise: μ is infinite.

    Raises:
        ConfigError: a multiplier is negative or not finite.
    """
    shares = []
    for z in multipliers:
        if not 0.0 <= z < math.inf:
            raise ConfigError(f"a noise multiplier is a finite number from 0, not {z!r}")
        shares.append(1.0 / z if z > 0.0 else math.inf)
    return math.hypot(*shares)


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return the least δ at which a μ-Gaussian-DP release is (ε, δ)-private, rounded up.

    Args:
        epsilon: at least 0, finite.
        mu: at least 0; infinity is a release without noise, which has δ = 1.

    Raises:
        ConfigError: ε or μ is out of its range.
    """
    return _delta(_checked_epsilon(epsilon), _checked_mu(mu))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the least ε at which a μ-Gaussian-DP release is (ε, δ)-private, rounded up.

    0 where δ alone covers it; infinity for an infinite μ.

    Raises:
        ConfigError: μ is negative, or δ not between 0 and 1.
    """
    _checked_mu(mu)
    _checked_delta(delta)
    if _delta(0.0, mu) <= delta:
        return 0.0
    # δ(ε) < Φ(μ/2 - ε/μ) < exp(-(ε/μ - μ/2)²/2)/2, which is below δ here.
    high = mu * (mu / 2 + math.sqrt(-2 * math.log(delta)))
    if not high < math.inf:
        return math.inf
    return _bisect(0.0, high, lambda epsilon: _delta(epsilon, mu) <= delta)[1]


def gaussian_mu(epsilon: float, delta: float) -> float:
    """Return the largest μ at which a μ-Gaussian-DP release is (ε, δ)-private, rounded down.

    Its inverse is the least noise: deviation over sensitivity has to be at least 1/μ.

    Raises:
        ConfigError: ε is negative or not finite, or δ not between 0 and 1.
    """
    _checked_epsilon(epsilon)
    _checked_delta(delta)
    high = 1.0
    while _delta(epsilon, high) <= delta:
        high *= 2
    return _bisect(0.0, high, lambda mu: _delta(epsilon, mu) > delta)[0]


def _bisect(low: float, high: float, reached: Callable[[float], bool]) -> tuple[float, float]:
    """Narrow an interval whose upper end has reached something and whose lower end has not, to neighbouring floats."""
    while low < (middle := (low + high) / 2) < high:
        if reached(middle):
            high = middle
        else:
            low = middle
    return low, high


def _delta(epsilon: float, mu: float) -> float:
    """Return δ(ε) and a little more.

    With a = ε/μ - μ/2 and b = ε/μ + μ/2 we have e^ε·φ(b) = φ(a), so with Mills' ratio R(x) = Φ(-x)/φ(x) the formula is
    δ = φ(a)·(R(a) - R(b)): e^ε is never taken.
    """
    if mu == 0.0:
        return 0.0
    if mu == math.inf:
        return 1.0
    a, b = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    if density == 0.0 and a > 0.0:
        return _LEAST
    if mu <= _NARROW:
        delta = density * _narrow_difference(epsilon / mu, mu / 2)
    elif a >= 0.0:
        delta = density * (_mills(a) - _mills(b))
    else:
        delta = math.erfc(a / math.sqrt(2)) / 2 - density * _mills(b)
    error = _ULP * (128 + 4 * abs(a) * b)  # of a and b, half an ulp or so each, through φ(a)
    return min(1.0, max(_LEAST, delta * (1 + error)))


def _mills(x: float) -> float:
    """Return Φ(-x)/φ(x) for x from 0, to a few ulp (the continued fraction of Laplace where erfc would underflow)."""
    if x < _ERFC_TO:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    tail = x
    for k in range(_FRACTION_TERMS, 0, -1):
        tail = x + k / tail
    return 1.0 / tail


def _narrow_difference(centre: float, half: float) -> float:
    """Return R(centre - half) - R(centre + half) without a subtraction.

    R(x) = ∫ exp(-xt - t²/2) dt from 0, so the difference is ∫ 2·sinh(half·t)·exp(-centre·t - t²/2) dt, of which
    nothing is negative. Gauss and Legendre's rule, up to where less than an ulp is left.
    """
    nodes, weights = _legendre()
    end = min(11.0, 45.0 / centre) if centre > 0.0 else 11.0
    t = nodes * end
    return float(2 * end * np.dot(weights, np.sinh(half * t) * np.exp(-(centre + t / 2) * t)))


@cache
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return (nodes + 1) / 2, weights / 2


def _checked_epsilon(epsilon: float) -> float:
    if not 0.0 <= epsilon < math.inf:
        raise ConfigError(f"epsilon is a finite number from 0, not {epsilon!r}")
    return epsilon


def _checked_mu(mu: float) -> float:
    if not mu >= 0.0:
        raise ConfigError(f"mu is a number from 0, not {mu!r}")
    return mu


def _checked_delta(delta: float) -> float:
    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta is a number between 0 and 1, not {delta!r}")
    return delta
