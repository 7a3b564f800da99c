"""The Gaussian mechanism on sums of integers: by the server, by every device, and as a simulation draws it at once.

What is public of a sum has no noise, all other entries have: an array without noise would undo the rest. Why whole
numbers are enough, and why devices' shares add up, is said in :mod:`fedpersona.privacy.noise`.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError
from fedpersona.plays import Plays
from fedpersona.privacy.deviations import sum_noise
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.noise import add_gaussian, gaussian_integers
from fedpersona.privacy.rounding import device_offsets
from fedpersona.wire.message import Words
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["add_share", "noisy_words", "released", "shares_at_once"]


def released(total: Update, plan: Plan, fixed_point: FixedPoint) -> Update:
    """Server: return the sum as it may be released: with the noise that the plan leaves to the server.

    A sum that devices put their own noise into, or that no noise is promised for, comes back as it is.

    Args:
        total: the opened sum, as :meth:`FixedPoint.decode` gives it.
        plan: the round.
        fixed_point: its encoding.
    """
    if plan.noise != "central":
        return total
    deviations = sum_noise(plan, fixed_point.layout)
    arrays = dict(total.arrays)
    for name, deviation in deviations.items():
        scale = fixed_point.scale(name)
        steps = gaussian_integers(arrays[name].size, deviation * scale).reshape(arrays[name].shape)
        arrays[name] = arrays[name] + steps / scale
    return Update(arrays)


def noisy_words(update: Update, plan: Plan, fixed_point: FixedPoint, plays: Plays, out: Words | None = None) -> Words:
    """Device: encode its bounded update, with its share of the noise where devices add it; what is left is to mask it.

    Args:
        update: checked and clipped.
        plan: the round.
        fixed_point: its encoding.
        plays: the device's history, which keys the rounding.
        out: where to put the words; by default a new array.

    Raises:
        BoundExceeded: an entry is not finite, or larger than its layout allows.
    """
    words = fixed_point.encode_words(update, device_offsets(plan, fixed_point.layout, plays), out)
    add_share(words, fixed_point)
    return words


def add_share(words: Words, fixed_point: FixedPoint) -> None:
    """Device: add its share of the noise to an encoded update, in place, before it is masked."""
    place = 0
    for spec in fixed_point.layout.arrays:
        part = words[place : place + spec.size]
        place += spec.size
        if spec.name in fixed_point.noise:
            add_gaussian(part, fixed_point.noise[spec.name] * fixed_point.scale(spec.name))


def shares_at_once(fixed_point: FixedPoint, devices: int) -> dict[str, NDArray[np.int64]]:
    """Simulation: return the sum of the shares of so many devices, drawn at once, by array name.

    A sum of ``n`` rounded normal numbers has the variance ``n (σ² + 1/12)``; its distribution differs from that of one
    rounded normal number of this variance by less than anyone can count.

    Raises:
        ConfigError: there is no device.
    """
    if devices < 1:
        raise ConfigError("noise is the sum of devices' shares, and there is no device")
    drawn = {}
    for name, share in fixed_point.noise.items():
        spec, steps = fixed_point.layout[name], share * fixed_point.scale(name)
        drawn[name] = gaussian_integers(spec.size, sqrt(devices * (steps**2 + 1 / 12))).reshape(spec.shape)
    return drawn
