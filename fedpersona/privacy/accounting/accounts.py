"""What a list of releases costs the person who was in all of them: by PLD, by RDP, and exactly where that is known.

PLD is the number to state: privacy loss distributions on a grid, always rounded up (Doroshenko et al. 2022). RDP
(Mironov 2017) is looser and independently computed: it should lie a little above. Without sampling all releases
together are one Gaussian release, which :mod:`fedpersona.privacy.gaussian` knows exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fedpersona.errors import ConfigError
from fedpersona.privacy.accounting.events import Event, GaussianRelease, SampledGaussianRelease, unsampled_multiplier
from fedpersona.privacy.gaussian import composed, gaussian_epsilon

__all__ = ["Account", "account", "pld_epsilon", "unsampled_mu"]

_GRID = 1e-3
"""Step of the grid of privacy losses in units of μ: ε comes out at most 2e-4 too large for δ from 1e-12.

Above an ε of 700, where exp(ε) leaves the floats, the library rounds more carefully: by up to 1."""

_SAMPLED_GRID = 1e-4
"""The same where releases are sampled: their losses are composed by convolution, and roundings add up."""


@dataclass(frozen=True)
class Account:
    """What releases cost one person who is in all of them, at one δ. Infinite where one has no noise.

    Args:
        delta: the δ that all of it is for.
        epsilon: ε by privacy loss distributions, rounded up: the number to state.
        epsilon_rdp: ε by Rényi differential privacy: looser, a check that shares no arithmetic with the others.
        epsilon_exact: ε by the analytic Gaussian; None where a release is sampled.
        mu: the μ of Gaussian differential privacy; None where a release is sampled.
    """

    delta: float
    epsilon: float
    epsilon_rdp: float
    epsilon_exact: float | None
    mu: float | None


def account(events: Iterable[Event], delta: float) -> Account:
    """Return what these releases cost together. No release costs nothing.

    Raises:
        ConfigError: δ is not between 0 and 1.
    """
    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta is a number between 0 and 1, not {delta!r}")
    events = tuple(events)
    mu = unsampled_mu(events)
    return Account(
        delta=delta,
        epsilon=pld_epsilon(events, delta),
        epsilon_rdp=_rdp_epsilon(events, delta),
        epsilon_exact=None if mu is None else gaussian_epsilon(mu, delta),
        mu=mu,
    )


def unsampled_mu(events: Iterable[Event]) -> float | None:
    """Return the μ of all releases together; None where one is sampled."""
    multipliers = []
    for event in events:
        if isinstance(event, SampledGaussianRelease):
            return None
        multipliers.append(unsampled_multiplier(event))
    return composed(multipliers)


def pld_epsilon(events: Sequence[Event], delta: float) -> float:
    """Return ε by privacy loss distributions, one person's history added or removed."""
    unsampled, sampled = _merged(events)
    if 0.0 in unsampled or any(multiplier == 0.0 for multiplier, _ in sampled):
        return math.inf
    if not events:
        return 0.0

    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    # Gaussian releases compose to one, exactly; only the others need a convolution.
    mu = composed(multiplier / math.sqrt(count) for multiplier, count in unsampled.items())
    step = _SAMPLED_GRID * max(mu, *(1 / multiplier for multiplier, _ in sampled)) if sampled else _GRID * mu
    accountant = PLDAccountant(value_discretization_interval=step)
    if unsampled:
        accountant.compose(GaussianDpEvent(1 / mu))
    for (multiplier, rate), count in sampled.items():
        accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(multiplier)), count)
    return float(accountant.get_epsilon(delta))


def _rdp_epsilon(events: Sequence[Event], delta: float) -> float:
    unsampled, sampled = _merged(events)

    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant
    from dp_accounting.rdp.rdp_privacy_accountant import DEFAULT_RDP_ORDERS

    # Broken orders below 2 do not converge where much is sampled, and are the best ones at an ε far above 10 only.
    orders = [order for order in DEFAULT_RDP_ORDERS if order >= 2 or not sampled]
    mu = unsampled_mu(events)
    if mu is not None and 0.0 < mu < math.inf:
        # Of Gaussian releases the best order is known, nearly; the default ones are far from it at either end.
        best = math.sqrt(-2 * math.log(delta)) / mu
        orders = sorted({*orders, *(1 + best * np.geomspace(0.4, 1.2, 40)).tolist()})
    accountant = RdpAccountant(orders)
    for multiplier, count in unsampled.items():
        accountant.compose(GaussianDpEvent(multiplier), count)
    for (multiplier, rate), count in sampled.items():
        accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(multiplier)), count)
    return float(accountant.get_epsilon(delta)) if events else 0.0


def _merged(events: Iterable[Event]) -> tuple[Counter[float], Counter[tuple[float, float]]]:
    """Count equal releases: unsampled ones by noise multiplier, sampled ones by noise multiplier and rate."""
    unsampled: Counter[float] = Counter()
    sampled: Counter[tuple[float, float]] = Counter()
    for event in events:
        if isinstance(event, SampledGaussianRelease):
            sampled[event.noise_multiplier, event.rate] += event.count
        elif isinstance(event, GaussianRelease):
            unsampled[event.noise_multiplier] += event.count
        else:
            unsampled[unsampled_multiplier(event)] += 1
    return unsampled, sampled
