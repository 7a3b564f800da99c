"""What a reader of one format is: it knows its files by their content, and yields listens or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from fedpersona.sources.listen import Listen

__all__ = ["MINIMUM_SECONDS", "Format", "Skipped"]

MINIMUM_SECONDS = 30
"""A track played for less than this says little of taste; it is skipped where the format tells how long it was."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record that is not kept, and why: words that quote nothing of it."""

    reason: str
    place: str
    """Where in the file: ``line 12`` or ``record 12``, counted from 1."""


class Format(Protocol):
    """One format of listening histories."""

    name: str
    """What a person calls it: ``Spotify extended streaming history``."""

    def recognises(self, head: str) -> bool:
        """Tell from the first characters of a file, without its name, whether it is of this format.

        Args:
            head: the first 64 KiB of the file, decoded, a byte order mark removed; the last line may be cut off.
        """
        ...

    def read(self, stream: BinaryIO) -> Iterator[Listen | Skipped]:
        """Yield every record of a file, one at a time: memory does not grow with the file.

        One bad record is a ``Skipped``; a file that cannot be read further ends with a ``Skipped`` that says so.
        """
        ...
