"""One listen, as every format's reader gives it: what played, and when. Nothing else is read into memory for long."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Listen"]


@dataclass(frozen=True, slots=True)
class Listen:
    """One play of one track. Its ``repr`` shows nothing of it, so that no log carries a history.

    Who listened, where, on which device and from which address is not here: no purpose needs it.
    """

    played_at: int
    """When it began: Unix seconds, UTC."""
    artist: str
    title: str
    ids: tuple[str, ...] = ()
    """What the source calls the recording: ``mbid:<uuid>`` and ``spotify:track:<id>``, where it says."""
    seconds: int | None = None
    """How long it was played, where the source says."""

    def __repr__(self) -> str:
        return "Listen(…)"
