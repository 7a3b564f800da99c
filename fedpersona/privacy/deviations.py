"""How much noise a plan puts on each array of a sum, and on each device's part of it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from fedpersona.wire.layout import Layout
from fedpersona.wire.plan import Plan

__all__ = ["device_noise", "sum_noise"]


def sum_noise(plan: Plan, layout: Layout) -> Mapping[str, float]:
    """Return the standard deviation of the noise on an entry of each array of a sum, by name; none without noise."""
    if plan.noise_multiplier is None or plan.clip is None:
        return {}
    deviation = plan.noise_multiplier * plan.clip
    return {spec.name: deviation * spec.measure for spec in layout.bounded.arrays}


def device_noise(plan: Plan, layout: Layout) -> Mapping[str, float]:
    """Return the deviation of one device's share of it, by name.

    The shares of the fewest devices whose sum may be released make the whole: independent deviations add up as the
    root of their number.
    """
    return {name: deviation / sqrt(plan.min_count) for name, deviation in sum_noise(plan, layout).items()}
