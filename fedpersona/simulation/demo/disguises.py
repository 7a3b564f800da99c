"""The forms in which a name or a time could stand in a stream of bytes, and which of them are too short to mean much.

A form of a few bytes turns up in random bytes by chance, and masked updates are random bytes: each kind of form has a
least length, below which it is not looked for. With it, a whole demo finds something by chance less than once in a
thousand times.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from urllib.parse import quote, quote_plus

__all__ = ["FORMS", "Form", "moment_forms", "text_forms"]

Form: TypeAlias = Literal["plain", "lower case", "base64", "hex", "UTF-16", "binary number"]

FORMS: dict[Form, int] = {"plain": 6, "lower case": 8, "base64": 8, "hex": 12, "UTF-16": 8, "binary number": 6}
"""Least length of each form, in bytes."""


def text_forms(text: str) -> Iterator[tuple[Form, bytes]]:
    """Yield every form of a text that is long enough to be looked for; ``lower case`` is for data in lower case."""
    for form, data in _text_forms(text):
        if len(data) >= FORMS[form]:
            yield form, data


def moment_forms(at: int) -> Iterator[tuple[Form, bytes]]:
    """Yield every form of a time: seconds and milliseconds in digits, ISO text, and binary numbers.

    Args:
        at: Unix seconds.
    """
    when = datetime.fromtimestamp(at, UTC)
    # Milliseconds begin with the digits of the seconds, and an ISO text with zone or fraction with one without.
    for text in (str(at), when.strftime("%Y-%m-%dT%H:%M:%S"), when.strftime("%Y-%m-%d %H:%M:%S")):
        yield from text_forms(text)
    for number in (at, at * 1000, at * 10**6, at * 10**9):
        for layout in ("<q", ">q", "<d", ">d"):
            yield "binary number", struct.pack(layout, number)
    for number in (at * 1000, at * 10**6, at * 10**9):  # of seconds it has five bytes: too few to mean much
        yield "binary number", _varint(number)


def _text_forms(text: str) -> Iterator[tuple[Form, bytes]]:
    plain = text.encode()
    yield "plain", plain
    yield "lower case", plain.lower()
    for other in {json.dumps(text)[1:-1], quote(text), quote_plus(text)} - {text}:
        yield "plain", other.encode()
    latin = text.encode("latin-1", "ignore")
    if latin != plain and len(latin) == len(text):
        yield "plain", latin
    for offset in range(3):
        for data in {_inside_base64(plain, offset, base64.b64encode), _inside_base64(plain, offset, _url_safe)}:
            yield "base64", data
    yield "hex", plain.hex().encode()
    yield "hex", plain.hex().upper().encode()
    yield "UTF-16", text.encode("utf-16-le")
    yield "UTF-16", text.encode("utf-16-be")


def _url_safe(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data)


def _inside_base64(data: bytes, offset: int, encode: object) -> bytes:
    """Return the letters that stand for ``data`` whatever is around it, where ``offset`` bytes (mod 3) come before."""
    encoded: bytes = encode(b"\0" * offset + data)  # type: ignore[operator]
    first = -(-offset * 8 // 6)  # letters that also hold bits of what came before
    last = (offset + len(data)) * 8 // 6  # whole letters up to the end of data
    return encoded[first:last]


def _varint(number: int) -> bytes:
    """Return a number as a protocol buffer has it."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
