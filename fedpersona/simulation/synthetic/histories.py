"""From finds to histories: each track of a person once, with a play count and the time of the last play."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.synthetic.config import SyntheticConfig
from fedpersona.simulation.synthetic.sessions import draw_last_plays

__all__ = ["Histories", "HistoryTable", "merge_finds"]

_MOST_REPEATS = 10_000
# A sort key is person, track and find in 63 bits: 10, 31 and 22 of them, far above what a chunk can hold.
_TRACK_BITS = 31
_FIND_BITS = 22


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories of a chunk of people, one person after another, tracks ascending within each."""

    lengths: NDArray[np.int64]
    """How many tracks each person played, shape (people,)."""
    items: NDArray[np.int32]
    """Catalogue rows, shape (tracks,)."""
    weights: NDArray[np.float32]
    """Play counts, shape (tracks,)."""
    times: NDArray[np.int64]
    """Unix seconds of the last play, shape (tracks,)."""


def merge_finds(
    draws: NDArray[np.int64],
    tracks: NDArray[np.int32],
    time: NDArray[np.int64],
    length: NDArray[np.int64],
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> Histories:
    """Merge what was found more than once, keep the first ``length`` tracks of each, and add further plays.

    Args:
        draws: how many finds each person makes, shape (people,).
        tracks: the track of each find, one person after another, shape (finds,).
        time: unix seconds of each find, shape (finds,); finds are in no order of time.
        length: most tracks to keep of each person, shape (people,).
        config: the settings.
        rng: the chunk's generator.
    """
    first_find = np.cumsum(draws) - draws
    person = np.repeat(np.arange(len(draws)), draws)
    # One plain sort of packed keys is several times faster than sorting indices.
    key = (person << _TRACK_BITS | tracks) << _FIND_BITS | (np.arange(len(tracks)) - first_find[person])
    key.sort()
    pair, find = key >> _FIND_BITS, key & ((1 << _FIND_BITS) - 1)
    begins = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    finds = np.diff(np.append(begins, len(pair)))
    owner, item, earliest = pair[begins] >> _TRACK_BITS, pair[begins] & ((1 << _TRACK_BITS) - 1), find[begins]
    kept = earliest <= _last_kept_find(owner, earliest, length)[owner]
    owner, item, earliest = owner[kept], item[kept], earliest[kept]
    # The time of one find, not of the latest: hits, found again and again, would crowd into everyone's last days.
    found = time[first_find[owner] + earliest]
    repeats = _draw_repeats(len(item), config, rng)
    return Histories(
        lengths=np.bincount(owner, minlength=len(draws)),
        items=item.astype(np.int32),
        weights=(finds[kept] + repeats).astype(np.float32),
        times=draw_last_plays(found, repeats, rng),
    )


def _last_kept_find(
    owner: NDArray[np.int64], earliest: NDArray[np.int64], length: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the number of the find that fills each person's history, or of the last one where none does."""
    order = np.sort(owner << _FIND_BITS | earliest)
    distinct = np.bincount(owner, minlength=len(length))
    begins = np.cumsum(distinct) - distinct
    return np.asarray(order[begins + np.minimum(length, distinct) - 1] & ((1 << _FIND_BITS) - 1))


def _draw_repeats(tracks: int, config: SyntheticConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    scale = rng.standard_normal(tracks, dtype=np.float32) * config.repeat_spread
    repeats = np.minimum(np.exp(scale) * config.median_repeats, _MOST_REPEATS)
    return np.asarray(repeats.astype(np.int64))


@dataclass(eq=False)
class HistoryTable:
    """A growing table of histories: a list of chunks would take twice the memory when it is joined."""

    indptr: NDArray[np.int64]
    """Where each person's rows begin, shape (people + 1,)."""
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    times: NDArray[np.int64]
    filled: int = 0
    """How many people are in it."""

    @classmethod
    def empty(cls, people: int, room: int) -> HistoryTable:
        """Make a table for ``people`` people, with room for that many rows at first."""
        return cls(
            indptr=np.zeros(people + 1, np.int64),
            items=np.empty(room, np.int32),
            weights=np.empty(room, np.float32),
            times=np.empty(room, np.int64),
        )

    def append(self, chunk: Histories) -> None:
        """Add the people of a chunk, as many as are wanted still."""
        people = min(len(chunk.lengths), len(self.indptr) - 1 - self.filled)
        begin = int(self.indptr[self.filled])
        ends = begin + np.cumsum(chunk.lengths[:people])
        end = int(ends[-1])
        self.indptr[self.filled + 1 : self.filled + 1 + people] = ends
        self.filled += people
        if end > len(self.items):
            self.resize(end + end // 8)
        self.items[begin:end] = chunk.items[: end - begin]
        self.weights[begin:end] = chunk.weights[: end - begin]
        self.times[begin:end] = chunk.times[: end - begin]

    def resize(self, room: int) -> None:
        """Change the room for rows; what is in it stays."""
        for array in (self.items, self.weights, self.times):
            array.resize(room, refcheck=False)
