"""When people listen: sessions over the months, more of them in the evening and at the weekend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.synthetic.config import SyntheticConfig

__all__ = ["END", "Sessions", "draw_last_plays", "draw_sessions", "hour_table"]

END = 1_751_241_600
"""Monday 30 June 2025, 00:00 UTC: all plays are before it, so that a seed gives the same data for ever."""

_HOUR = 3_600
_WEEK = 7 * 24 * _HOUR
_TRACK = 210
_WEEKDAY = np.array([2, 1, 1, 1, 1, 2, 5, 9, 9, 6, 5, 5, 6, 6, 5, 6, 8, 11, 13, 15, 17, 16, 11, 5], np.float64)
_WEEKEND = np.array([8, 5, 3, 2, 1, 1, 2, 3, 6, 9, 12, 13, 13, 13, 13, 13, 14, 15, 17, 19, 20, 20, 17, 12], np.float64)


@dataclass(frozen=True, eq=False)
class Sessions:
    """The finds of a chunk, session after session; the sessions of a person are in no order of time."""

    begins: NDArray[np.int64]
    """First find of each session, shape (sessions,)."""
    session: NDArray[np.int64]
    """Session of each find, shape (finds,)."""
    time: NDArray[np.int64]
    """Unix seconds of each find, shape (finds,)."""
    progress: NDArray[np.float32]
    """The same from 0 at the beginning of the period to 1 at its end, shape (finds,)."""


def hour_table(config: SyntheticConfig) -> NDArray[np.float64]:
    """Return the running share of listening up to each hour of the period, shape (hours,)."""
    days = 30 * config.months
    weekend = (np.arange(days) - days) % 7 >= 5  # END is a Monday, so the last two days are a weekend
    running = np.cumsum(np.where(weekend[:, None], _WEEKEND, _WEEKDAY).ravel())
    return np.asarray(running / running[-1])


def draw_sessions(
    draws: NDArray[np.int64], hours: NDArray[np.float64], config: SyntheticConfig, rng: np.random.Generator
) -> Sessions:
    """Cut each person's finds into sessions and give each session a time.

    Args:
        draws: how many finds each person makes, shape (people,), all positive.
        hours: the table of ``hour_table``.
        config: the settings.
        rng: the chunk's generator.
    """
    finds = int(draws.sum())
    begin = rng.random(finds, dtype=np.float32) < 1.0 / config.tracks_per_session
    begin[np.cumsum(draws) - draws] = True
    begins = np.flatnonzero(begin)
    session = np.cumsum(begin) - 1
    hour = np.searchsorted(hours, rng.random(len(begins)), side="right")
    start = END - (len(hours) - hour) * _HOUR + rng.integers(0, _HOUR, len(begins))
    time = start[session] + _TRACK * (np.arange(finds) - begins[session])
    time = np.minimum(time, END - 1)
    progress = 1.0 - (END - time) / (len(hours) * _HOUR)
    return Sessions(begins=begins, session=session, time=time, progress=progress.astype(np.float32))


def draw_last_plays(
    found: NDArray[np.int64], repeats: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return when each track was last played: some weeks after it was found, at the same time of the week.

    Args:
        found: unix seconds of the find, shape (tracks,).
        repeats: how many further plays there were; none leaves the time as it is, shape (tracks,).
        rng: the chunk's generator.
    """
    weeks = np.floor(rng.standard_exponential(len(found), dtype=np.float32) * np.log1p(repeats) / 2).astype(np.int64)
    return np.asarray(found + _WEEK * np.minimum(weeks, (END - 1 - found) // _WEEK))
