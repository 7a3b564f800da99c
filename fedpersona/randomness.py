"""Randomness keyed by (seed, round, device, purpose), never by position in a loop.

Two devices draw independently, the same device draws the same in any order, on any number of threads and in any
engine. For simulations and for initial models only: noise and keys that protect people are drawn elsewhere, from
a cryptographic source that no seed can repeat. (The rounding of updates shares :func:`mix64`, and protects nobody.)
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "GOLDEN",
    "draws",
    "fingerprint",
    "fingerprints",
    "generator",
    "keys",
    "mix64",
    "normals",
    "text_key",
    "uniforms",
    "unit_interval",
]

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


def draws(key: int | np.uint64, first: int, count: int) -> NDArray[np.uint64]:
    """Return draws ``first`` to ``first + count - 1`` of the stream that a key begins, uint64, shape (count,).

    Draw ``i`` is SplitMix64's after ``i + 1`` steps from the key (Steele, Lea and Flood 2014, figure 15): it can be
    told without those before it.
    """
    steps = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return mix64(np.uint64(key) + steps * GOLDEN)


def keys(seed: int, purpose: str, devices: NDArray[np.integer], *, round_number: int = 0) -> NDArray[np.uint64]:
    """Return one key a device for one round and purpose: the beginning of a stream of draws, or a draw by itself.

    Args:
        seed: the run's seed, a whole number in [0, 2^63).
        purpose: what it is for; other purposes give independent keys.
        devices: device numbers, any integer dtype, shape (n,).
        round_number: the round.

    Returns:
        uint64 array of shape (n,), the same for a device whichever other devices are asked for.
    """
    start = np.uint64(text_key(f"{seed}/{round_number}/{purpose}"))
    with np.errstate(over="ignore"):
        return mix64(mix64(start + devices.astype(np.uint64) * GOLDEN) + GOLDEN)


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
    return unit_interval(keys(seed, purpose, devices, round_number=round_number))


def normals(seed: int, purpose: str, devices: NDArray[np.integer], width: int) -> NDArray[np.float64]:
    """Return ``width`` standard normal numbers a device, shape (n, width), by Box and Muller's transform (1958)."""
    pairs = -(-width // 2)
    columns = np.arange(1, 2 * pairs + 1, dtype=np.uint64) * GOLDEN
    with np.errstate(over="ignore"):
        uniform = unit_interval(mix64(keys(seed, purpose, devices)[:, None] + columns))
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:, :pairs]))
    angle = 2.0 * np.pi * uniform[:, pairs:]
    return np.hstack([radius * np.cos(angle), radius * np.sin(angle)])[:, :width]


def fingerprints(items: NDArray[np.integer], indptr: NDArray[np.integer], catalogue_size: int) -> NDArray[np.uint64]:
    """Return a number for what each of many devices played: sums of mixed items modulo 2^64, in any order.

    Args:
        items: catalogue rows, device after device, shape (plays,); of a ``csr_array`` its ``indices``.
        indptr: where each device's items begin, and where the last ones end, shape (devices + 1,).
        catalogue_size: above every row.

    Returns:
        uint64 array of shape (devices,), 0 for a device that played nothing.
    """
    prints = np.zeros(len(indptr) - 1, np.uint64)
    some = np.flatnonzero(np.diff(indptr))
    if some.size:  # an item is mixed once, not once a play; reduceat would give an empty row the next one's first term
        prints[some] = np.add.reduceat(_terms(np.arange(catalogue_size))[items], indptr[some])
    return prints


def fingerprint(items: NDArray[np.integer]) -> np.uint64:
    """Return :func:`fingerprints` of one device."""
    return np.uint64(_terms(items).sum(dtype=np.uint64))


def _terms(items: NDArray[np.integer]) -> NDArray[np.uint64]:
    return mix64((items.astype(np.uint64) + np.uint64(1)) * GOLDEN)
