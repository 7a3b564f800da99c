"""Noise that cancels over rounds: a banded square-root Toeplitz factorisation, streamed with the memory of one band.

A training adds up what its rounds release. Let ``x_t`` be the exact sum of round ``t`` and ``A`` the lower triangle of
ones that takes prefix sums. With ``A = B C``, the mechanism answers ``B (C x + z) = A (x + w)``, ``w = C^-1 z``, with
independent ``z``: round ``t`` releases ``x_t + w_t``, and later rounds take back some of what ``w_t`` added. ``C`` is
the Toeplitz matrix of the first coefficients of ``(1 - q)^(-1/2)``, the root of ``A``, cut off at a band (Kalinin and
Lampert 2024, "Banded square root matrix factorization").

What one device can change in ``C x``, as it answers at most once in ``separation >= band`` rounds: its columns of ``C``
have no row in common, so their squares add up, and with ``k`` answers of length at most 1 it is ``sqrt(k)`` times the
norm of the first column, the longest (Choquette-Choo et al. 2023, "(Amplified) banded matrix factorization", section
4, without the amplification). As ``C`` is lower triangular, what is sent may depend on what was released before
(Denisov et al. 2022, theorem 2.1).

How integers come out. ``x_t`` is an integer, so ``x_t + round(w_t) = round(x_t + w_t)``, and all ``x + w`` together are
``C^-1 (C x + z)``: what is released is a function of the Gaussian mechanism's answer on ``C x`` and nothing else. It
costs nothing that rounding happens at the end of each round, as long as ``w`` itself goes on unrounded. Floats are as
harmless as in :mod:`fedpersona.privacy.noise`. Above ``2^16`` steps they would not fill every integer, so there an
independent rounded Gaussian of a deviation of ``sqrt(s)`` steps is added on top: post-processing again, a 2^16th of the
variance at most.

This is noise of one who holds the sums, the server: shares that devices add would have to be correlated from round to
round, and the devices of two rounds are different ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, RoundFailed
from fedpersona.privacy.noise import WIDE, add_gaussian, check_deviation, gaussian_numbers

__all__ = [
    "BandedNoise",
    "PrefixError",
    "band_coefficients",
    "banded_sensitivity",
    "column_norm",
    "participations",
    "prefix_error",
]


@dataclass(frozen=True)
class PrefixError:
    """Deviations of the noise in prefix sums, for a ``z`` of deviation 1: rows of ``A C^-1`` (Denisov et al. 2022)."""

    rms: float
    """Root of the mean square over rounds."""
    last: float
    """After the last round."""


def band_coefficients(band: int) -> NDArray[np.float64]:
    """Return the first column of ``C`` as far as it is not zero: ``c_j = prod_{i=1..j} (2 i - 1) / (2 i)``.

    Returns:
        float64 array of shape (band,), from 1 downwards.

    Raises:
        ConfigError: the band is below 1.
    """
    _at_least_one(band=band)
    ranks = np.arange(1, band)
    return np.cumprod(np.concatenate([[1.0], (2 * ranks - 1) / (2 * ranks)]))


def column_norm(band: int, rounds: int) -> float:
    """Return the length of the longest column of ``C``, for so many rounds.

    Raises:
        ConfigError: the band or the rounds are below 1.
    """
    _at_least_one(rounds=rounds)
    return float(np.linalg.norm(band_coefficients(band)[:rounds]))


def participations(rounds: int, separation: int) -> int:
    """Return how often a device can answer that answers at most once in ``separation`` rounds.

    Raises:
        ConfigError: either is below 1.
    """
    _at_least_one(rounds=rounds, separation=separation)
    return -(-rounds // separation)


def banded_sensitivity(band: int, rounds: int, separation: int) -> float:
    """Return how much one device can change ``C x``, in multiples of the length of its longest answer.

    ``z`` keeps a promise of mu (:func:`fedpersona.privacy.gaussian.gaussian_mu`) with a deviation of this over mu.

    Raises:
        ConfigError: a number below 1, or a separation below the band: answers of one device would share rows of ``C``.
    """
    if separation < band:
        raise ConfigError(
            f"a band of {band} asks for as many rounds between two answers of a device, not {separation}: "
            "lower the band or raise the separation"
        )
    return sqrt(participations(rounds, separation)) * column_norm(band, rounds)


def prefix_error(band: int, rounds: int) -> PrefixError:
    """Return how far prefix sums are off, for a ``z`` of deviation 1.

    Raises:
        ConfigError: the band or the rounds are below 1.
    """
    _at_least_one(rounds=rounds)
    coefficients = band_coefficients(band)
    inverse = np.zeros(rounds)
    inverse[0] = 1.0
    for row in range(1, rounds):
        reach = min(band - 1, row)
        inverse[row] = -np.dot(coefficients[1 : reach + 1], inverse[row - reach : row][::-1])
    variances = np.cumsum(np.cumsum(inverse) ** 2)
    return PrefixError(sqrt(variances.mean()), sqrt(variances[-1]))


class BandedNoise:
    """The noise of one array over all rounds of a training, drawn round after round.

    It remembers the last ``band - 1`` rounds, in float64: of 24 bits, as float32 has them, not every integer of a wide
    noise could come. What it remembers is as secret as the sums. It is not for keeping: where a training was
    interrupted, a new one begins with the next round. The columns of ``C`` are then shorter and have still no row in
    common, so that the promise holds, and only the noise of before is no longer taken back.
    """

    def __init__(
        self, size: int, deviation: float, *, band: int, rounds: int, separation: int, first_round: int = 1
    ) -> None:
        """Prepare noise for the rounds ``first_round`` to ``rounds``.

        Args:
            size: numbers of the array.
            deviation: of ``z``, in steps of the grid: :func:`banded_sensitivity` of all rounds, from the very first,
                times the length of an answer in steps, over mu.
            band: rounds over which noise is mixed; 1 is independent noise.
            rounds: the last round of the training.
            separation: a device answers at most once in so many rounds.
            first_round: the first round to draw for.

        Raises:
            ConfigError: numbers out of their range, or a separation below the band.
        """
        banded_sensitivity(band, rounds, separation)
        if not 1 <= first_round <= rounds:
            raise ConfigError(f"noise cannot begin with round {first_round} of {rounds}")
        self.size = size
        self.rounds = rounds
        self.next_round = first_round
        self._deviation = check_deviation(deviation)
        band = min(band, rounds)
        # Row r of the past is that of the round r, r + (band - 1), ...; a weight for each row, twice over: the row
        # that is written next holds the oldest round, and the weights of all rows are a stretch of this.
        oldest_first = band_coefficients(band)[:0:-1]
        self._weights = np.concatenate([oldest_first, oldest_first])
        self._past = np.zeros((band - 1, size))
        self._row = 0

    def draw(self, round_number: int) -> NDArray[np.int64]:
        """Return the noise to add to the sum of a round; no round has any twice.

        Returns:
            int64 array of shape (size,).

        Raises:
            RoundFailed: it is not the turn of this round, or it is past the last.
        """
        if round_number != self.next_round or round_number > self.rounds:
            turn = f"it is the turn of round {self.next_round}" if self.next_round <= self.rounds else "all are over"
            raise RoundFailed(f"noise was asked for round {round_number}, of {self.rounds}, but {turn}")
        self.next_round += 1
        noise = np.rint(self._mixed()).astype(np.int64)
        if self._deviation > WIDE:
            add_gaussian(noise.view(np.uint64), sqrt(self._deviation))
        return noise

    def _mixed(self) -> NDArray[np.float64]:
        """Return the next row of ``w = C^-1 z``: ``w_t = z_t - sum_{j=1}^{band-1} c_j w_{t-j}``."""
        mixed = gaussian_numbers(self.size, self._deviation)
        rows = len(self._past)
        if rows:
            mixed -= self._weights[rows - self._row : 2 * rows - self._row] @ self._past
            self._past[self._row] = mixed
            self._row = (self._row + 1) % rows
        return mixed


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} has to be 1 or more, not {number}")
