"""How many neighbours a device has, how many of them recover what it shared, and what can go wrong how often.

Bell et al. 2020, section 3.3 and theorem 3.10, bound these chances; here they are computed: from how many neighbours a
device has, as circles overlap (:mod:`fedpersona.privacy.secagg.graph`), and for so many from the hypergeometric
distribution, as they are drawn without replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb, floor, log2

from fedpersona.errors import ConfigError
from fedpersona.privacy.secagg.graph import circles
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD, Plan

__all__ = ["LEAST_ROSTER", "MOST_NEIGHBOURS", "Chances", "Parameters", "chances"]

MOST_NEIGHBOURS = 1024
"""Beyond a few hundred nothing is gained, and a device would have to draw, sign and share for minutes."""

LEAST_ROSTER = 3
"""Two devices that take part know each other's update from the sum."""


@dataclass(frozen=True)
class Parameters:
    """k and t of Bell et al. 2020; what follows from them for a roster of a certain size."""

    neighbours: int = NEIGHBOURS
    """k: how many others a device masks and shares its secrets with; all others where these are not more."""
    threshold: int = THRESHOLD
    """t: how many of k neighbours recover what a device shared; in proportion where it has fewer neighbours."""

    def __post_init__(self) -> None:
        if not 2 <= self.neighbours <= MOST_NEIGHBOURS or self.neighbours % 2:
            raise ConfigError(f"neighbours is {self.neighbours:,}: give an even number from 2 to {MOST_NEIGHBOURS:,}")
        if not self.neighbours < 2 * self.threshold <= 2 * self.neighbours:
            raise ConfigError(
                f"threshold is {self.threshold}: give more than half of the {self.neighbours} neighbours, at most all; "
                "with half of them or less a server could get both of a device's secrets"
            )

    @classmethod
    def of(cls, plan: Plan) -> Parameters:
        """Return those of a plan.

        Raises:
            ConfigError: they are none.
        """
        return cls(plan.neighbours, plan.threshold)

    def needed(self, degree: int) -> int:
        """Return t for a device with so many neighbours: the same share of them, rounded up, and above half."""
        return max(-(-self.threshold * degree // self.neighbours), degree // 2 + 1)


@dataclass(frozen=True)
class Chances:
    """Chances in one round, over all of its devices, as powers of two: -40 is 2^-40; 0 where it is certain."""

    alone: float
    """Somebody has so many colluding neighbours that these and the server can open that device's update."""
    split: float
    """Somebody has so many colluding neighbours that a server which shows different survivors to different devices
    can get both of its secrets, and open its update."""
    failed: float
    """So many neighbours of somebody leave that the round fails; nothing is opened then."""


def chances(size: int, parameters: Parameters, *, colluding: float, leaving: float) -> Chances:
    """Compute what can go wrong in a round, by the union bound over its devices.

    Args:
        size: n, devices of the roster.
        parameters: k and t.
        colluding: share of the other devices that work with the server.
        leaving: share of the other devices that leave after the roster was closed.
    """
    degrees = _degrees(size, parameters.neighbours)
    bad, gone = floor(colluding * (size - 1)), floor(leaving * (size - 1))
    return Chances(
        alone=_anyone(size, degrees, bad, parameters.needed),
        split=_anyone(size, degrees, bad, lambda degree: 2 * parameters.needed(degree) - degree),
        failed=_anyone(size, degrees, gone, lambda degree: degree - parameters.needed(degree) + 1),
    )


def _degrees(size: int, neighbours: int) -> dict[int, float]:
    """Return the chance of each number of neighbours: a circle gives a random pair, and what repeats counts once."""
    if size - 1 <= neighbours:
        return {size - 1: 1.0}
    found = {0: 1.0}
    for _ in range(circles(size, neighbours)):
        after: dict[int, float] = {}
        for degree, chance in found.items():
            for new in range(3):
                ways = comb(size - 1 - degree, new) * comb(degree, 2 - new)
                if ways:
                    after[degree + new] = after.get(degree + new, 0.0) + chance * (ways / comb(size - 1, 2))
        found = after
    return found


def _anyone(size: int, degrees: Mapping[int, float], marked: int, least: Callable[[int], int]) -> float:
    """Return log2 of n times the chance that at least so many of a device's neighbours are marked, at most 0."""
    chance = 0.0
    for degree, share in degrees.items():
        hits = range(least(degree), min(marked, degree) + 1)
        ways = sum(comb(marked, hit) * comb(size - 1 - marked, degree - hit) for hit in hits)
        chance += share * (ways / comb(size - 1, degree))
    return min(0.0, log2(size) + log2(chance)) if chance else float("-inf")
