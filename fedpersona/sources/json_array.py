"""The records of a file that is one JSON list, one at a time, and of each only the fields that are asked for.

Each record is parsed by the standard library's decoder as soon as it is there whole. ijson is not used: its fast
backend stops the whole interpreter at an integer of 4,301 digits, and it cannot be held to a size of one record.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from fedpersona.sources.format import Skipped
from fedpersona.sources.text import Utf8

__all__ = ["LONGEST_RECORD", "Record", "records"]

LONGEST_RECORD = 1 << 20
"""Characters of one record; a longer one is no record of a play, and would be held in memory whole."""

_CHUNK = 1 << 16
_BROKEN: Final = object()
_SPACES = re.compile(r"[ \t\r\n]*")


class Record(NamedTuple):
    """One element of the list; its ``repr`` shows nothing of what it holds."""

    place: str
    """``record 12``, counted from 1."""
    fields: dict[str, Any]
    """The values of the keys asked for, as far as the element has them."""

    def __repr__(self) -> str:
        return f"Record({self.place})"


def records(stream: BinaryIO, wanted: Iterable[str]) -> Iterator[Record | Skipped]:
    """Yield every record of a JSON list, whatever its encoding; what is not in ``wanted`` is dropped at once.

    An element that is not an object is a ``Skipped``. So is, once and at the end, the place from which the file is cut
    off or no JSON: what came before it was yielded. NaN, infinities and integers of over 20 digits are read as None.
    """
    keys = tuple(wanted)
    for number, element in enumerate(_elements(_Buffer(stream)), start=1):
        place = f"record {number}"
        if element is _BROKEN:
            yield Skipped("cut off, or not valid JSON, from here to the end of the file", place)
        elif isinstance(element, dict):
            yield Record(place, {key: element[key] for key in keys if key in element})
        else:
            yield Skipped("not a record of a play", place)


def _nothing(_: str) -> None:
    """Stand in for what JSON does not have: NaN and the infinities."""


def _integer(digits: str) -> int | None:
    """Read an integer; no field of a history has more than 20 digits, and reading many is slow."""
    return int(digits) if len(digits) <= 20 else None


# Not strict: a line end or a tab inside a name is cleaned away later, it need not cost the rest of the file.
_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=_nothing)


def _decoded(text: str, start: int) -> tuple[Any, int] | None:
    """Parse one value; None when it is not whole, or not JSON. The decoder's error quotes the file, so it ends here."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def _spaces(text: str, start: int) -> int:
    """Find where the white space from a place on ends."""
    spaces = _SPACES.match(text, start)
    return spaces.end() if spaces else start


class _Buffer:
    """The part of the text that is looked at: from ``at`` on it has not been used yet."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = Utf8(stream)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text, self._at, self._ended = "", 0, False

    def _more(self) -> bool:
        """Read on, twice as much each time while nothing is used: the work stays in proportion to the file."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        chunk = self._stream.read(max(_CHUNK, len(rest)))
        self._ended = not chunk
        self._text, self._at = rest + self._decoder.decode(chunk, final=self._ended), 0
        return True

    def sign(self) -> str:
        """Pass over white space; give the next character without using it, or "" at the end."""
        while True:
            self._at = _spaces(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def step(self) -> None:
        """Use one character."""
        self._at += 1

    def value(self) -> Any:
        """Use one value, from its first character on; ``_BROKEN`` when it is cut off, not JSON, or too long."""
        while True:
            found = _decoded(self._text, self._at)
            # A number at the very end of what was read may go on.
            if found is not None and (found[1] < len(self._text) or self._ended):
                self._at = found[1]
                return found[0]
            if len(self._text) - self._at > LONGEST_RECORD or not self._more():
                return _BROKEN


def _elements(buffer: _Buffer) -> Iterator[Any]:
    """Yield the elements of the list; ``_BROKEN`` last, when the list does not end as a list does."""
    if buffer.sign() != "[":
        yield _BROKEN
        return
    buffer.step()
    following = buffer.sign()
    if following != "]":
        following = ","
    while following == ",":
        value = buffer.value()
        yield value
        if value is _BROKEN:
            return
        following = buffer.sign()
        if following == ",":
            buffer.step()
            buffer.sign()
    buffer.step()
    # To the very end: what follows the list would be lost, and a zip's checksum is looked at only there.
    if following != "]" or buffer.sign():
        yield _BROKEN
