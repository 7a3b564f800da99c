"""Numbers as integers, so that a sum is exact: the same in any order, on any number of threads and machines.

Each array of a layout is scaled by a power of two, as large as the ring allows: a cohort of ``n`` devices, each
within its bound, can never wrap around modulo ``2**ring_bits``. After Bonawitz et al. 2017, section 4. Entries are
rounded stochastically (Gupta et al. 2015), with the offsets of :mod:`fedpersona.privacy.rounding`: each is right on
average, so the error of a sum grows with the root of the devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import frexp, ldexp, sqrt

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import BoundExceeded, SumOverflow
from fedpersona.privacy.deviations import device_noise, sum_noise
from fedpersona.privacy.noise import LEAST_STEPS
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.message import Words, word_type
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["FixedPoint", "has_room", "smallest_ring"]

_BLOCK = 1 << 16
_CACHED = 1 << 14
"""Numbers of a block that stays in the nearest cache."""
_TAIL = 12.0
_LONGEST = 13.5
"""Deviations that no drawn noise reaches: :mod:`fedpersona.privacy.noise`."""
_EXACT = 2**53
"""Integers up to it are exact in float64."""

_LEAST_BITS = 16
"""Bits that the largest entry of one device keeps at least, when the ring is chosen by itself."""


def smallest_ring(cohort: int) -> int:
    """Return 32 where a sum over the cohort keeps at least 16 bits an entry, else 64."""
    return 32 if (2**31 - 1) // cohort >= 2**_LEAST_BITS else 64


def has_room(plan: Plan, layout: Layout) -> bool:
    """Tell whether the plan's ring holds the sum, with devices' noise in it, at 16 bits an entry or more."""
    try:
        fixed_point = FixedPoint.for_plan(plan, layout)
    except SumOverflow:
        return False
    return all(fixed_point.scale(spec.name) * spec.bound >= 2**_LEAST_BITS for spec in layout.arrays)


class FixedPoint:
    """Encodes the arrays of one layout for sums over at most ``cohort`` devices."""

    def __init__(
        self,
        layout: Layout,
        cohort: int,
        ring_bits: int,
        *,
        noise: Mapping[str, float] | None = None,
        toward_zero: bool = False,
        added: Mapping[str, float] | None = None,
    ) -> None:
        self.layout = layout
        self.cohort = cohort
        self.ring_bits = ring_bits
        self.toward_zero = toward_zero
        self.noise = {} if noise is None else dict(noise)
        """Deviation of the noise that each device adds itself, by array; an array without has none."""
        self._added = {} if added is None else dict(added)
        """Deviation of the noise that is added to the decoded sum, by array."""
        self._scales = {spec.name: self._fitting(spec) for spec in layout.arrays}

    @classmethod
    def for_plan(cls, plan: Plan, layout: Layout) -> FixedPoint:
        """Return the encoding of a round.

        Raises:
            SumOverflow: the ring is too small for sums over the cohort, or for the noise that devices add.
        """
        shares = device_noise(plan, layout) if plan.noise == "distributed" else {}
        added = sum_noise(plan, layout) if plan.noise == "central" else {}
        fixed_point = cls(layout, plan.cohort, plan.ring_bits, noise=shares, toward_zero=bool(plan.noise), added=added)
        for name, share in shares.items():
            steps = share * fixed_point.scale(name)
            if steps < LEAST_STEPS:
                raise SumOverflow(
                    f"array '{name}': a device's share of the noise is {steps:.2g} steps of the ring, "
                    f"it takes {LEAST_STEPS} or more: use a larger ring"
                )
        return fixed_point

    def _fitting(self, spec: ArraySpec) -> float:
        """Return the finest scale at which neither the sum nor the noise in it wraps around.

        Where the server adds noise, sum and noise together also stay within the integers that float64 holds: their
        last bits would else be rounded away by how large each of both is, which tells them apart.
        """
        largest = 2 ** (self.ring_bits - 1) - 1
        # Noise of the whole cohort: an entry is beyond so many deviations once in 10^32.
        tail = _TAIL * self.noise.get(spec.name, 0.0) * sqrt(self.cohort)
        limit = int(largest / (self.cohort + tail / spec.bound)) if tail else largest // self.cohort
        if spec.name in self._added:
            limit = min(limit, int(_EXACT / (self.cohort + _LONGEST * self._added[spec.name] / spec.bound)))
        if limit < 1:
            raise SumOverflow(
                f"a sum over {self.cohort:,} devices does not fit modulo 2^{self.ring_bits}: use a larger ring"
            )
        # float64 holds integers to 2^53 exactly; a finer scale would round the encoded value itself.
        return _scale(spec.bound, min(limit, 2**52))

    @property
    def bytes_per_update(self) -> int:
        """Bytes of one encoded update."""
        return self.layout.size * self.ring_bits // 8

    def scale(self, name: str) -> float:
        """Return how many integer steps make 1.0 in this array: a power of two."""
        return self._scales[name]

    def encode(self, name: str, values: NDArray[np.float64], offset: float | NDArray[np.float64]) -> NDArray[np.int64]:
        """Round entries of the array ``name`` to integers: x to floor(x · scale + offset), exactly.

        With an offset that is uniform in [0, 1) each entry is right on average. What is a whole number of steps stays
        what it is, zero among them, and no entry leaves its bound.

        Under noise entries are cut toward zero instead, whatever the offset: rounding comes after clipping, and must
        not make an update longer than an account of differential privacy takes it to be. What is lost, half a step a
        device on average, is far below the noise.

        The values may be any of the array's entries: rounding is entry by entry, so a cohort form that rounds an
        addend once and adds it to many rows gives what every device would have given.

        Args:
            name: the array.
            values: entries, any shape.
            offset: in [0, 1): one number a device, which broadcasts over its values. See
                :mod:`fedpersona.privacy.rounding`.

        Raises:
            BoundExceeded: an entry is not finite, or larger than its layout allows.
            SumOverflow: an offset is not in [0, 1), and could round an entry past its bound.
        """
        encoded = np.empty(values.shape, np.int64)
        thresholds = np.broadcast_to(_threshold(offset), values.shape)
        rows = max(1, _BLOCK * len(values) // max(1, values.size))
        for start in range(0, len(values), rows):  # a block stays in the processor's cache: three times as fast
            block = slice(start, start + rows)
            encoded[block] = self._rounded(name, values[block], thresholds[block])
        return encoded

    def _rounded(self, name: str, values: NDArray[np.float64], threshold: NDArray[np.float64]) -> NDArray[np.float64]:
        """Round up where what is above a whole number reaches the threshold.

        The sum with the offset would itself be rounded, past a whole number where entries are large.
        """
        bound = self.layout[name].bound
        largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
        if not largest <= bound * (1 + 1e-9):
            raise BoundExceeded(
                f"array '{name}': an entry of size {largest:.4g} is above the declared bound {bound:.4g}"
            )
        scaled = np.clip(values, -bound, bound)
        scaled *= self._scales[name]
        if self.toward_zero:
            return np.trunc(scaled)
        whole = np.floor(scaled)
        scaled -= whole
        whole += scaled >= threshold
        return whole

    def encode_update(self, update: Update, offsets: Mapping[str, float]) -> dict[str, NDArray[np.int64]]:
        """Check one device's update against the layout and encode all of it, with an offset for each array."""
        update.check(self.layout)
        return {name: self.encode(name, update[name], offsets[name]) for name in self.layout.names}

    def encode_words(self, update: Update, offsets: Mapping[str, float], out: Words | None = None) -> Words:
        """Encode a checked update as words of the ring, all arrays one after another, shape (size,).

        A block at a time: beside the result it takes little memory.

        Args:
            update: what to encode.
            offsets: the device's rounding offset for each array.
            out: where to put the words; by default a new array.

        Raises:
            BoundExceeded: an entry is not finite, or larger than its layout allows.
        """
        words: Words = np.empty(self.layout.size, word_type(self.ring_bits)) if out is None else out
        place = 0
        for name in self.layout.names:
            flat, threshold = update[name].reshape(-1), _threshold(offsets[name])
            for start in range(0, flat.size, _BLOCK):
                block = self._rounded(name, flat[start : start + _BLOCK], threshold).astype(np.int64)
                words[place : place + block.size] = block.astype(words.dtype)  # negative numbers wrap around
                place += block.size
        return words

    def decode_words(self, total: Words) -> Update:
        """Turn the words of a sum back into numbers."""
        signed = total.view(f"<i{total.itemsize}").astype(np.int64)
        arrays, place = {}, 0
        for spec in self.layout.arrays:
            arrays[spec.name] = signed[place : place + spec.size].reshape(spec.shape)
            place += spec.size
        return self.decode(arrays)

    def zeros(self) -> dict[str, NDArray[np.int64]]:
        """Return the empty sum."""
        return {spec.name: np.zeros(spec.shape, np.int64) for spec in self.layout.arrays}

    def decode(self, total: dict[str, NDArray[np.int64]], *, in_place: bool = False) -> Update:
        """Turn sums back into numbers.

        Args:
            total: the sums.
            in_place: whether the numbers may take the memory of the sums, which are gone then.
        """
        if in_place:
            return Update({name: _divided(total[name], self._scales[name]) for name in self.layout.names})
        return Update({name: total[name] / self._scales[name] for name in self.layout.names})


def _scale(bound: float, limit: int) -> float:
    """Return the largest power of two that keeps the bound within the limit, in exact comparisons."""
    mantissa, exponent = frexp(bound)
    power = min(limit.bit_length() - exponent, 1023)  # the largest that a float64 holds
    while ldexp(mantissa, exponent + power) > limit:
        power -= 1
    return ldexp(1.0, power)


def _threshold(offset: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - offset: exact, where the offset is a multiple of 2^-53."""
    if not (np.min(offset, initial=0.0) >= 0.0 and np.max(offset, initial=0.0) < 1.0):
        raise SumOverflow("a rounding offset outside [0, 1) could round an entry past its bound")
    return np.asarray(1.0 - np.asarray(offset, np.float64))


def _divided(integers: NDArray[np.int64], scale: float) -> NDArray[np.float64]:
    """Return integers over a power of two, in their own memory."""
    whole = integers.reshape(-1)
    numbers = whole.view(np.float64)
    for start in range(0, whole.size, _CACHED):
        part = slice(start, start + _CACHED)
        np.multiply(whole[part].astype(np.float64), 1.0 / scale, out=numbers[part])  # exact, like the division
    return numbers.reshape(integers.shape)
