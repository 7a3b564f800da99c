"""Gaussian noise as integers, from a key that is drawn for each call and kept nowhere.

``N(0, s^2)`` rounded to the nearest integer, ``s`` in steps of the fixed-point grid: Box-Muller in float64 over an
AES-256 keystream in counter mode. No function takes a seed, a key or a generator, so no setting can repeat a draw.

Why it may stand for the continuous Gaussian, of which the accounts speak:

* **Added by one who holds the sum.** A sum ``x`` is an integer, so ``x + round(N) = round(x + N)``: what is released
  is the Gaussian mechanism's answer, rounded. That is post-processing and costs nothing, for any ``s``.
* **Added by many, inside a sum.** Let ``n`` parties add ``round(N_i)``, each ``s_i >= 8`` (:data:`LEAST_STEPS`). By
  Poisson's summation the fractional part of ``N_i`` is uniform up to a factor ``1 ± 2.1 exp(-2 pi^2 s_i^2)``, and
  ``2 pi^2 64 > 1263``. Given all fractional parts, the ``N_i`` are Gaussians on shifted lattices, and their sum is the
  Gaussian of variance ``sum s_i^2`` on the lattice shifted by the sum of the parts, each probability up to a factor
  ``1 ± tau``, ``tau = 10 sum_{k<n} exp(-2 pi^2 64 k / (k + 1)) < 10 n exp(-631)`` (Kairouz, Liu and Steinke 2021, "The
  distributed discrete Gaussian mechanism", theorem 1; a shift only turns the phases of the terms it bounds). So one
  gets the released sum, up to ``tau``, from ``y = x + N(0, sum s_i^2)`` alone: draw the ``n`` fractional parts
  uniformly among those that add up to that of ``y``, and take them off as rounding would. A post-processing with coins
  of its own: the noise is worth that of variance ``sum s_i^2``, and the variance of rounding, at most ``n / 12``, is
  only lost.
* **Tails.** The radius comes from 126 bits, so ``|z| <= sqrt(2 126 ln 2) = 13.2`` deviations. The continuous Gaussian
  is longer with probability ``2^-126`` a pair of numbers: so much of delta an entry, ``10^-29`` for a thousand rounds
  of a million entries. (From 53 bits it would be 8.57 deviations, ``10^-16`` an entry, ``10^-7`` in all.) Small
  uniforms keep their 53 significant bits, so the tail has no gaps.
* **Last places.** Float64 moves ``z`` by ``(|z| + 3) 2^-49`` at most, on average over the numbers that give a ``z``.
  That moves the edges of what rounds to one integer, and changes its probability by a factor ``1 ± h``,
  ``h = (|z| + 3) s 2^-48``: ``10^-9`` at ``s = 2^16``. Over a million entries it is 0.002 of epsilon were every one the
  worst, and in truth grows with their root: over all integers the changes add up to nothing. Above ``2^16`` steps the
  noise is therefore a sum of two parts, of deviations ``sqrt(s^2 - s)`` and ``sqrt(s)``, each rounded: by the argument
  of many parties that is as good, the fine part fills the gaps that floats have up there, and ``h`` grows with the
  root of ``s`` only.
* **Low bits** (Mironov 2012) tell nothing: floats decide which integer is added and are seen by nobody, the addition is
  exact, and every integer within the tails can be drawn whatever the sum was.
* **Time** tells nothing of a value either: nothing is rejected and drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, isfinite, log, pi, sin, sqrt
from secrets import token_bytes

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedpersona.errors import ConfigError
from fedpersona.wire.message import Words

__all__ = [
    "LARGEST_STEPS",
    "LEAST_STEPS",
    "WIDE",
    "add_gaussian",
    "check_deviation",
    "gaussian_integers",
    "gaussian_numbers",
]

LEAST_STEPS = 8
"""Steps of the grid that each party's deviation has at least where many add noise to one sum."""

LARGEST_STEPS = 2.0**58
"""Above it a number of 13.2 deviations would not fit into 64 bits."""

WIDE = 2.0**16
"""Steps above which floats no longer fill every integer well enough, so that noise is drawn in two parts."""

_KEY = 32
_PAIRS = 4096  # pairs of numbers at a time: all that is worked with stays in the cache
_BYTES = 3 * 8 * _PAIRS
_ZEROS = memoryview(bytes(_BYTES))
_ANGLE = 2 * pi * 2.0**-64


def gaussian_integers(size: int, deviation: float) -> NDArray[np.int64]:
    """Return fresh noise: N(0, deviation^2) rounded to the nearest integer.

    Args:
        size: how many.
        deviation: in steps of the grid; 0 gives zeros.

    Returns:
        int64 array of shape (size,). Beside it, half a megabyte is used.

    Raises:
        ConfigError: the deviation is negative, not finite, or above :data:`LARGEST_STEPS`.
    """
    noise = np.zeros(size, np.int64)
    add_gaussian(noise.view(np.uint64), deviation)
    return noise


def add_gaussian(words: Words, deviation: float) -> None:
    """Add fresh noise, as :func:`gaussian_integers` draws it, to words of a ring, in place, modulo their type.

    Args:
        words: uint32 or uint64, shape (n,).
        deviation: in steps of the grid; 0 leaves the words as they are.

    Raises:
        ConfigError: the deviation is negative, not finite, or above :data:`LARGEST_STEPS`.
    """
    _add_rounded(_fresh(), words, check_deviation(deviation))


def gaussian_numbers(size: int, deviation: float) -> NDArray[np.float64]:
    """Return fresh noise that is not rounded yet, for noise that is mixed over rounds before it is.

    Float64 has gaps and its last places tell of what was added: nothing may be released that was not rounded to
    integers.

    Args:
        size: how many.
        deviation: any unit; 0 gives zeros.

    Raises:
        ConfigError: the deviation is negative, not finite, or above :data:`LARGEST_STEPS`.
    """
    return _numbers(_fresh(), size, check_deviation(deviation))


def check_deviation(deviation: float) -> float:
    """Return a deviation that noise can be drawn with.

    Raises:
        ConfigError: it is negative, not finite, or above :data:`LARGEST_STEPS`.
    """
    if not (isfinite(deviation) and 0 <= deviation <= LARGEST_STEPS):
        raise ConfigError(
            f"noise of a deviation of {deviation:.4g} steps cannot be drawn: it has to be a number from 0 to 2^58"
        )
    return float(deviation)


def _parts(deviation: float) -> tuple[float, ...]:
    """Return the deviations of the parts that are drawn and rounded one by one; their squares add up."""
    if deviation == 0:
        return ()
    if deviation <= WIDE:
        return (deviation,)
    fine = sqrt(deviation)
    return sqrt(deviation - 1) * fine, fine


class Keystream:
    """Uniform words of 64 bits from a key: :func:`_fresh` draws the key of every one that is not in a test."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY:
            raise ValueError(f"a key has {_KEY} bytes, not {len(key)}")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._room = bytearray(_BYTES + 15)  # the cipher asks for more than it fills

    def block(self) -> NDArray[np.uint64]:
        """Return the next words, shape (3, pairs): a view that the next call overwrites, and that may be changed."""
        self._cipher.update_into(_ZEROS, self._room)
        return np.frombuffer(self._room, "<u8", 3 * _PAIRS).reshape(3, _PAIRS)


def _fresh() -> Keystream:
    return Keystream(token_bytes(_KEY))


def _add_rounded(stream: Keystream, words: Words, deviation: float) -> None:
    signed = words.view(f"<i{words.itemsize}")
    for part in _parts(deviation):
        start = 0
        for block in _blocks(stream, words.size, part):
            np.rint(block, out=block)
            integers = block.astype(np.int64).astype(signed.dtype)  # what does not fit wraps around
            signed[start : start + block.size] += integers
            start += block.size


def _numbers(stream: Keystream, size: int, deviation: float) -> NDArray[np.float64]:
    numbers = np.empty(size)
    start = 0
    for block in _blocks(stream, size, deviation):
        numbers[start : start + block.size] = block
        start += block.size
    return numbers


def _blocks(stream: Keystream, size: int, deviation: float) -> Iterator[NDArray[np.float64]]:
    """Yield ``size`` numbers a block at a time, each a view that the next one overwrites (Box and Muller 1958).

    Of three words a pair, two are the radius's uniform number, in (0, 1], one is the angle, in [-pi, pi).
    """
    radius, low, angle = np.empty((3, _PAIRS))
    numbers = np.empty(2 * _PAIRS)
    for start in range(0, size, 2 * _PAIRS):
        words = stream.block()
        words[:2] >>= np.uint64(1)  # 63 bits: positive as signed words, which turn into floats sooner
        radius[:], low[:], angle[:] = words.view(np.int64)
        low += 1.0
        low *= 2.0**-63
        radius += low
        radius *= 2.0**-63
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        radius *= deviation
        angle *= _ANGLE
        np.cos(angle, out=numbers[:_PAIRS])
        np.sin(angle, out=numbers[_PAIRS:])
        numbers[:_PAIRS] *= radius
        numbers[_PAIRS:] *= radius
        yield numbers[: size - start]


def _reference(stream: Keystream, size: int, deviation: float) -> list[int]:
    """Return noise one number at a time: the readable form of :func:`_add_rounded`, which is held equal to it."""
    noise = [0] * size
    for part in _parts(deviation):
        drawn: list[float] = []
        while len(drawn) < size:
            high, low, angles = stream.block()
            radii = [
                part * sqrt(-2 * log(((one >> 1) + ((other >> 1) + 1) / 2**63) / 2**63))
                for one, other in zip(high.tolist(), low.tolist(), strict=True)
            ]
            polar = list(zip(radii, (angle * _ANGLE for angle in angles.view(np.int64).tolist()), strict=True))
            drawn += [radius * cos(angle) for radius, angle in polar]
            drawn += [radius * sin(angle) for radius, angle in polar]
        noise = [total + round(number) for total, number in zip(noise, drawn, strict=False)]
    return noise
