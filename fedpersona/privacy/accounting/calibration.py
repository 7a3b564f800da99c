"""The least noise that keeps a list of releases within ε and δ.

The analytic Gaussian gives the answer at once where nothing is sampled, and the central limit theorem a guess where
something is. A few accounts by PLD, each a good part of a second at worst, then settle it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from fedpersona.errors import ConfigError
from fedpersona.privacy.accounting.accounts import pld_epsilon, unsampled_mu
from fedpersona.privacy.accounting.events import Event, SampledGaussianRelease, unsampled_multiplier
from fedpersona.privacy.gaussian import gaussian_epsilon, gaussian_mu

__all__ = ["calibrate"]

_RANGE = 1e-15, 1e15
"""Where noise is looked for: a deviation in the units of a model can be far from 1."""

_GUESS_PRECISION = 1e-9
_SETTLED = 1e-4
"""A last step from here ends within a millionth of where it should: lines are that straight."""
_MARGIN = 1e-6
_STEPS = 12


def calibrate(epsilon: float, delta: float, events_of: Callable[[float], Sequence[Event]]) -> float:
    """Return the least noise, to a relative 1e-4, with which the releases cost at most ε, by PLD and exactly.

    It is never too little: what is returned was accounted for.

    Args:
        epsilon: the limit, above 0.
        delta: the δ it is for.
        events_of: the releases at a noise multiplier, or at any number that it grows with. What does not depend on it,
            because it has been spent already, may be among them.

    Raises:
        ConfigError: ε or δ is out of its range, no noise is enough, or none is needed.
    """
    if epsilon == 0.0:
        raise ConfigError("epsilon is above 0: what depends on people at all costs something")
    limit = gaussian_mu(epsilon, delta)
    noise = _guess(limit, events_of)
    slope, before = -1.0, None
    for _ in range(_STEPS):
        # A line through (log noise, log μ), where μ is of the Gaussian that costs as much: nearly straight.
        excess = math.log(gaussian_mu(_cost(events_of(noise), delta), delta) / limit)
        if before is not None and before[0] != noise:
            slope = (excess - before[1]) / math.log(noise / before[0])
            slope = min(-0.25, max(-4.0, slope))
        before = noise, excess
        noise *= math.exp(-excess / slope)
        if abs(excess) < _SETTLED:
            break
    margin = _MARGIN
    while _cost(events_of(noise * (1 + margin)), delta) > epsilon:
        margin *= 2
    return noise * (1 + margin)


def _cost(events: Sequence[Event], delta: float) -> float:
    """Return the larger of ε by PLD and the exact one: rounding never decides."""
    mu = unsampled_mu(events)
    cost = pld_epsilon(events, delta)
    return cost if mu is None else max(cost, gaussian_epsilon(mu, delta))


def _guess(limit: float, events_of: Callable[[float], Sequence[Event]]) -> float:
    """Return the noise at which the central limit theorem, exact without sampling, says the limit."""
    low, high = _RANGE
    if _limit_mu(events_of(high)) > limit:
        raise ConfigError("no noise is enough: what does not depend on it costs more than epsilon already")
    if _limit_mu(events_of(low)) <= limit:
        raise ConfigError("no noise is needed: nothing that depends on it costs anything")
    while high > low * (1 + _GUESS_PRECISION):
        middle = math.sqrt(low * high)
        if _limit_mu(events_of(middle)) <= limit:
            high = middle
        else:
            low = middle
    return high


def _limit_mu(events: Sequence[Event]) -> float:
    """Return μ in the limit of many sampled releases (Bu et al. 2020): a guess, never a claim."""
    total = 0.0
    for event in events:
        if isinstance(event, SampledGaussianRelease):
            exponent = _inverse_square(event.noise_multiplier)
            total += event.rate**2 * event.count * math.expm1(min(exponent, 700.0))
        else:
            total += _inverse_square(unsampled_multiplier(event))
    return math.sqrt(total)


def _inverse_square(multiplier: float) -> float:
    return (1 / multiplier) ** 2 if multiplier > 0.0 else math.inf
