"""Who is whose neighbour: a random graph that follows from the roster, so that no server can choose it.

Random circles through all devices, one upon another; neighbours in any circle are neighbours. As circles overlap, there
are so many that a device has k neighbours on average: k/2 and a few. Such graphs are
nearly as well connected as graphs of that degree can be (Friedman 2008), so that a server which declares devices of its
choice gone cannot cut the rest into parts and read the sum of each. Bell et al. 2020, section 3.2, ask for the same of
their graphs, where the server draws them. With k + 1 devices or fewer everyone is everyone's neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedpersona.privacy.secagg.keys import expand_key

__all__ = ["MOST_DEVICES", "circles", "everyone", "neighbours_of"]

MOST_DEVICES = 1 << 17
"""Devices of a roster, at most: what a phone can draw the circles of, in a second or a few."""


def circles(size: int, neighbours: int) -> int:
    """Return how many circles are drawn: a device then has k different neighbours on average, or one fewer or more.

    A circle leaves out each other device with the chance 1 - 2 / (n - 1). Multiplied step by step: both sides of a
    round have to find the same number, and a logarithm may differ between machines in its last bit.
    """
    others = size - 1
    if others <= neighbours:
        return 0
    count, missed = 0, 1.0
    while others * (1.0 - missed) < neighbours - 1:
        missed *= 1.0 - 2.0 / others
        count += 1
    return count


def everyone(roster: bytes, size: int, neighbours: int) -> list[tuple[int, ...]]:
    """Return the neighbours of every device, by place in the roster, increasing.

    Args:
        roster: hash of the closed roster, 32 bytes.
        size: n, how many devices are in it.
        neighbours: k, even.
    """
    if size - 1 <= neighbours:
        return [tuple(other for other in range(size) if other != device) for device in range(size)]
    found: list[set[int]] = [set() for _ in range(size)]
    for circle in _drawn(roster, size, neighbours):
        for device, other in zip(circle.tolist(), np.roll(circle, -1).tolist(), strict=True):
            found[device].add(other)
            found[other].add(device)
    return [tuple(sorted(others)) for others in found]


def neighbours_of(roster: bytes, size: int, neighbours: int, device: int) -> tuple[int, ...]:
    """Return the neighbours of one device: what :func:`everyone` has for it, without all others."""
    if size - 1 <= neighbours:
        return tuple(other for other in range(size) if other != device)
    found = set[int]()
    for circle in _drawn(roster, size, neighbours):
        place = int(np.flatnonzero(circle == device)[0])
        found |= {int(circle[place - 1]), int(circle[(place + 1) % size])}
    return tuple(sorted(found))


def _drawn(roster: bytes, size: int, neighbours: int) -> Iterator[NDArray[np.int64]]:
    """Give orders of the devices, each drawn by sorting random numbers of 64 bits under the roster's hash."""
    stream = Cipher(algorithms.AES(expand_key(roster, b"graph", 16)), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(8 * size)
    for _ in range(circles(size, neighbours)):
        yield np.argsort(np.frombuffer(stream.update(zeros), "<u8"), kind="stable")
