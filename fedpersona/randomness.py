"""Randomness keyed by (seed, round, device, purpose), never by position in a loop.

Two devices draw independently, the same device draws the same in any order, on any number of threads and in any
engine. For simulations and for initial models only: noise and keys that protect people are drawn elsewhere, from
a cryptographic source that no seed can repeat. (The rounding of updates shares :func:`mix64`, and protects nobody.)
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["GOLDEN", "generator", "mix64", "text_key", "uniforms", "unit_interval"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: the step between two states of SplitMix64."""
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def text_key(text: str) -> int:
    """Return a number of 64 bits for a text: another text, another number (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *, round_number: int = 0, device: int = 0) -> np.random.Generator:
    """Return a generator for one device in one round for one purpose."""
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([seed, round_number, device, text_key(purpose)]))
    )


def mix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each state, any shape (Steele, Lea and Flood 2014, figure 15)."""
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def unit_interval(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the upper 53 bits of each number as a multiple of 2^-53 in [0, 1), any shape."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniforms(seed: int, purpose: str, devices: NDArray[np.integer], *, round_number: int = 0) -> NDArray[np.float64]:
    """Return one uniform number in [0, 1) a device, the same whichever other devices are asked for.

    Args:
        seed: the run's seed, a whole number in [0, 2^63).
        purpose: what the number is for; other purposes give independent numbers.
        devices: device numbers, any integer dtype, shape (n,).
        round_number: the round.

    Returns:
        float64 array of shape (n,).
    """
    start = np.uint64(text_key(f"{seed}/{round_number}/{purpose}"))
    with np.errstate(over="ignore"):
        return unit_interval(mix64(mix64(start + devices.astype(np.uint64) * GOLDEN) + GOLDEN))
