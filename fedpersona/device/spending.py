"""What taking part has cost at worst, by this device's own account: no server's word goes into it but the noise.

A round whose noise deviates by ``z`` times the clip is μ-Gaussian-DP with μ = 1/z for whoever is in it, and the squares
of μ add up over rounds, runs and servers (Dong, Roth, Su 2022, corollary 3.3). Every round counts that was sent or may
have been, whatever its server says of cohorts, separation or samples. Against one history replaced by an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpersona.wire.plan import Plan

__all__ = ["DELTA", "Spent", "cost", "number_words"]

DELTA = 1e-6
"""The δ of the device's own account.

It is the same for all rounds, servers and owners, so that two numbers can be compared, and no server can make its own
look smaller by choosing δ. A device does not know how many people take part anywhere; one in a million is below one in
so many of any federation that these devices are made for.
"""

_MOST = 1e9
"""The largest μ² that is counted as noise: what is above, with ε beyond 500 million, hides nothing."""


@dataclass(frozen=True)
class Spent:
    """What some rounds cost together."""

    squared: float = 0.0
    """Sum of μ² over the rounds with noise."""
    noiseless: int = 0
    """Rounds without noise: of these nothing bounds what they tell."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.squared + other.squared, self.noiseless + other.noiseless)

    def beyond(self, other: Spent) -> Spent:
        """Return what this is more than another, in no part less than nothing."""
        return Spent(max(0.0, self.squared - other.squared), max(0, self.noiseless - other.noiseless))

    def at_least(self, other: Spent) -> Spent:
        """Return the larger of both, part by part."""
        return Spent(max(self.squared, other.squared), max(self.noiseless, other.noiseless))

    @property
    def mu(self) -> float:
        """μ of all rounds together; infinite where one had no noise."""
        return math.inf if self.noiseless else math.sqrt(self.squared)

    @property
    def epsilon(self) -> float:
        """ε at :data:`DELTA`, rounded up (Balle, Wang 2018); infinite where a round had no noise."""
        from fedpersona.privacy.gaussian import gaussian_epsilon  # opening a device does not wait for it

        return gaussian_epsilon(self.mu, DELTA)

    @property
    def words(self) -> str:
        """``ε 1.24``, or that it is unlimited."""
        if not self.noiseless:
            return f"ε {number_words(self.epsilon)}"
        return f"unlimited ({self.noiseless_words})"

    @property
    def noiseless_words(self) -> str:
        """``1 round without noise``."""
        return f"{self.noiseless:,} round{'' if self.noiseless == 1 else 's'} without noise"

    @property
    def meaning(self) -> str:
        """What that is worth, in a sentence for its owner."""
        from fedpersona.privacy.wording import sentence

        return sentence(self.epsilon, DELTA, self.mu, seen="all that was released of the rounds this device answered")

    def told(self) -> dict[str, Any]:
        """Return it JSON-native, with ε: None where there is no limit."""
        epsilon = self.epsilon
        return {
            "squared": self.squared,
            "noiseless": self.noiseless,
            "epsilon": epsilon if math.isfinite(epsilon) else None,
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Spent:
        """Read what :meth:`told` returned."""
        return cls(float(told["squared"]), int(told["noiseless"]))


def cost(plan: Plan) -> Spent:
    """Return what one answer to a plan costs at worst, where the noise is as it promises.

    Noise so small that it hides nothing counts as none.
    """
    if not plan.noise or plan.noise_multiplier is None:
        return Spent(noiseless=1)
    mu = 1.0 / plan.noise_multiplier
    return Spent(squared=mu * mu) if mu * mu <= _MOST else Spent(noiseless=1)


def number_words(epsilon: float) -> str:
    """Return an ε for people, rounded up: two digits after the point below ten, one below a hundred, else none."""
    digits = 2 if epsilon < 10 else 1 if epsilon < 100 else 0
    up = math.ceil(epsilon * 10**digits - 1e-9) / 10**digits
    return f"{up:,.{digits}f}"
