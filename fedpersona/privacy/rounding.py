"""Which way a device rounds its update: one number in [0, 1) for each array, keyed by its own history and the plan.

Stochastic rounding makes every entry right on average (Gupta et al. 2015, section 4). One number an array will do: it
is uniform, so each entry alone is unbiased; entries of one device err together, those of different devices do not, and
it is over devices that a sum is taken. Keyed by what was played, it is the same on a phone, in a simulated device and
in a cohort form, none of which needs to know a number of the device.

It is **no privacy noise**. Devices that played the same items round the same way, anybody who knows a history can
compute it, and an entry of zero stays zero. That the server does not learn it hides nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.plays import Plays
from fedpersona.randomness import GOLDEN, fingerprint, mix64, text_key, unit_interval
from fedpersona.wire.layout import Layout
from fedpersona.wire.plan import Plan

__all__ = ["device_offsets", "offsets", "rounding_key"]

_PURPOSE = "rounding"


def device_offsets(plan: Plan, layout: Layout, plays: Plays) -> dict[str, float]:
    """Return the rounding offset of one device for each array of a round.

    Args:
        plan: the round, whose seed and number count.
        layout: the arrays of the round's updates.
        plays: the device's history, of which the items count: not how often or when they were played.

    Returns:
        by array name, a number in [0, 1) for :meth:`fedpersona.privacy.fixed_point.FixedPoint.encode`.
    """
    prints = np.array([fingerprint(plays.items)])
    return {name: float(offsets(plan, name, prints)[0]) for name in layout.names}


def rounding_key(plan: Plan, name: str) -> int:
    """Return what keys the offsets of the array ``name`` in a round, 64 bits."""
    return text_key(f"{plan.seed}/{plan.round_number}/{_PURPOSE}/{name}")


def offsets(plan: Plan, name: str, prints: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the rounding offsets of many devices for the array ``name``, float64 in [0, 1), shape (devices,)."""
    return unit_interval(mix64(mix64(prints ^ np.uint64(rounding_key(plan, name))) + GOLDEN))
