"""From the fields of one record to a listen, or the reason why not: the same reasons for every format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from fedpersona.sources.fields import clean_name, plausible_time
from fedpersona.sources.format import MINIMUM_SECONDS, Skipped
from fedpersona.sources.listen import Listen

__all__ = ["Clock", "checked"]

Clock = Callable[[], float]
"""Tells the time now, in Unix seconds."""

_DAY = 86_400


def checked(
    place: str,
    *,
    now: float,
    played_at: float | None,
    artist: object,
    title: object,
    ids: Iterable[str | None] = (),
    seconds: float | None = None,
) -> Listen | Skipped:
    """Make a listen of fields as they were found.

    Args:
        place: where in the file.
        now: Unix seconds.
        played_at: the start of the play, Unix seconds; None when the record has no time that can be read.
        artist: as found, of any type.
        title: as found, of any type.
        ids: what the checks of ``fields`` gave, None among them; in the order of trust.
        seconds: how long it was played; None when the source does not say. A negative time, and one over a day, is
            a counter's fault and taken for unknown.
    """
    artist, title = clean_name(artist), clean_name(title)
    if artist is None or title is None:
        return Skipped(f"no {'artist' if artist is None else 'title'} that can be read", place)
    if "\ufffd" in artist or "\ufffd" in title:
        return Skipped("letters that were lost to a wrong encoding: save the file as UTF-8", place)
    if played_at is None:
        return Skipped("no time that can be read", place)
    if not plausible_time(played_at, now):
        return Skipped("a time before 1995 or in the future", place)
    if seconds is not None and not 0 <= seconds <= _DAY:
        seconds = None
    if seconds is not None and seconds < MINIMUM_SECONDS:
        return Skipped(f"played for less than {MINIMUM_SECONDS} seconds", place)
    known = tuple(dict.fromkeys(one for one in ids if one is not None))
    return Listen(math.floor(played_at), artist, title, known, None if seconds is None else int(seconds))
