"""Looks for thousands of byte strings in megabytes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError

__all__ = ["LEAST", "Finder"]

LEAST = 6  # bytes
_PIECE = 1 << 22
_BITS = 24


class Finder:
    """Finds any of many byte strings of at least :data:`LEAST` bytes.

    Two tables say which three bytes any string begins with, and which three follow; only where both say yes are the
    strings themselves compared.
    """

    def __init__(self, strings: Iterable[bytes]) -> None:
        self._by_start: dict[bytes, list[bytes]] = {}
        self._first = np.zeros(1 << _BITS, np.bool_)
        self._second = np.zeros(1 << _BITS, np.bool_)
        longest = LEAST
        for string in set(strings):
            if len(string) < LEAST:
                raise ConfigError(f"a string of {len(string)} bytes is found everywhere: give at least {LEAST}")
            self._by_start.setdefault(string[:LEAST], []).append(string)
            self._first[int.from_bytes(string[:3])] = True
            self._second[int.from_bytes(string[3:LEAST])] = True
            longest = max(longest, len(string))
        self._overlap = longest - 1

    def __len__(self) -> int:
        return sum(map(len, self._by_start.values()))

    def find(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield each string that is in ``data``, with its place; one that is there twice comes twice."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE + self._overlap]
            for place in self._candidates(piece):
                if place < _PIECE:  # the rest is looked at with the next piece
                    for string in self._by_start.get(piece[place : place + LEAST], ()):
                        if piece.startswith(string, place):
                            yield string, start + place

    def _candidates(self, piece: bytes) -> list[int]:
        if len(piece) < LEAST:
            return []
        letters = np.frombuffer(piece, np.uint8)
        windows: NDArray[np.uint32] = letters[:-2].astype(np.uint32)
        windows <<= 8
        windows |= letters[1:-1]
        windows <<= 8
        windows |= letters[2:]
        places = np.flatnonzero(self._first[windows[:-3]])
        found: list[int] = places[self._second[windows[places + 3]]].tolist()
        return found
