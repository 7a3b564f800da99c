"""Checks of one field of a record, the same for every format: a name, an id, a time."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime

__all__ = [
    "EARLIEST",
    "LONGEST_NAME",
    "clean_name",
    "iso_time",
    "mbid",
    "number",
    "plausible_time",
    "played_seconds",
    "spotify_track",
]

EARLIEST = int(datetime(1995, 1, 1, tzinfo=UTC).timestamp())
"""Unix seconds: before it, nobody recorded what they played; an older time is a clock that was not set."""

LONGEST_NAME = 500
"""Characters of an artist or a title; what is longer is not a name."""

_DAY = 86_400
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_SPOTIFY = re.compile(
    r"(?:spotify:track:|https?://open\.spotify\.com/(?:intl-[a-z]{2,5}(?:-[a-z]{2,5})?/)?track/)([0-9A-Za-z]{22})(?:[/?#].*)?",
    re.DOTALL,
)


def clean_name(text: object) -> str | None:
    """Make an artist or a title fit to keep: NFC, one space between words, no control characters.

    Args:
        text: what the record has there; a format without types may hold anything.

    Returns:
        The name; None when it is no text, when nothing is left of it, or when it is over ``LONGEST_NAME`` characters.
    """
    # The first bound keeps a record of many megabytes from costing anything: cleaning never joins so much into a name.
    if not isinstance(text, str) or len(text) > 8 * LONGEST_NAME:
        return None
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = "".join(" " if char.isspace() else char for char in text if _kept(char))
    name = " ".join(text.split())
    return name if len(name) <= LONGEST_NAME and name.strip("\u200c\u200d ") else None


def _kept(char: str) -> bool:
    """Keep spaces, letters and joiners (Persian and emoji need them); drop controls, surrogates, marks of direction."""
    if char.isspace() or char in "\u200c\u200d":
        return True
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs")


def mbid(text: object) -> str | None:
    """Read a MusicBrainz id (a UUID, in any case) as ``mbid:<lower case uuid>``; None when it is not one."""
    if not isinstance(text, str) or not 36 <= len(text) <= 64:
        return None
    uuid = text.strip().lower()
    return f"mbid:{uuid}" if _UUID.fullmatch(uuid) and uuid != _NO_UUID else None


def spotify_track(text: object) -> str | None:
    """Read a Spotify track's URI or address as ``spotify:track:<22 letters and digits>``; None for anything else."""
    if not isinstance(text, str) or len(text) > 1000:
        return None
    match = _SPOTIFY.fullmatch(text.strip())
    return f"spotify:track:{match[1]}" if match else None


def number(value: object) -> float | None:
    """Read a number, or text that is one in decimal digits; None for anything else, NaN and infinity too."""
    if isinstance(value, str):
        value = value.strip() if len(value) <= 40 else ""  # strip knows more kinds of space than float does
        value = float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int of more than 308 digits
        return None


def played_seconds(milliseconds: object) -> float | None:
    """Read how long Spotify played something, in seconds; None where it is no number, below 0, or over 1,000 days."""
    # Text is no number here: Spotify never writes one so.
    found = None if isinstance(milliseconds, str) else number(milliseconds)
    return found / 1000 if found is not None and 0 <= found <= 1000 * _DAY else None


def iso_time(text: object) -> float | None:
    """Read an ISO 8601 date with a time as Unix seconds; UTC where it names no offset. None when it is not one."""
    if not isinstance(text, str) or not 16 <= len(text) <= 40:
        return None
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def plausible_time(seconds: float, now: float) -> bool:
    """Tell whether a play can have begun then: not before 1995, not more than a day after now (both Unix seconds)."""
    return EARLIEST <= seconds <= now + _DAY
