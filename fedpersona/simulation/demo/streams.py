"""What lies compressed in a stream of bytes: every zlib, gzip and zip stream in it, wherever it begins, unpacked."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from fedpersona.errors import DataError

__all__ = ["unpacked"]

_DEEPEST = 4  # streams inside streams
_LARGEST = 128 << 20  # bytes of one stream
_PIECE = 1 << 14
_LEAST = 6  # bytes that anything that is looked for has

_ZLIB = [
    bytes((8 | high << 4, flags))
    for high in range(8)
    for flags in range(256)
    if not ((8 | high << 4) << 8 | flags) % 31
]
_START = re.compile(b"|".join([rb"\x1f\x8b\x08", rb"PK\x03\x04", *map(re.escape, _ZLIB)]), re.DOTALL)
_ZIP = struct.Struct("<4s5H3I2H")  # the head of a file in a zip: the last two are lengths of its name and extra field


def unpacked(data: bytes, depth: int = _DEEPEST) -> Iterator[bytes]:
    """Yield what each stream in ``data`` holds, and each stream in those; of a damaged one what can be read.

    Raises:
        DataError: a stream unpacks to more than anybody would look through, or streams lie too deep in each other.
    """
    for found in _START.finditer(data):
        start, inflater = _reader(data, found.start())
        content = _inflate(data, start, inflater)
        if len(content) < _LEAST:
            continue
        if not depth:
            raise DataError("holds compressed data in compressed data, too deep to look through", place="recording")
        yield content
        yield from unpacked(content, depth - 1)


def _reader(data: bytes, start: int) -> tuple[int, zlib._Decompress]:
    if data.startswith(b"PK", start):
        head = data[start : start + _ZIP.size]
        name, extra = _ZIP.unpack(head)[-2:] if len(head) == _ZIP.size else (0, 0)
        return start + _ZIP.size + name + extra, zlib.decompressobj(-zlib.MAX_WBITS)
    return start, zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib or gzip, by its head


def _inflate(data: bytes, start: int, inflater: zlib._Decompress) -> bytes:
    content = bytearray()
    for place in range(start, len(data), _PIECE):
        try:
            content += inflater.decompress(data[place : place + _PIECE], _LARGEST)
        except zlib.error:
            break
        if len(content) >= _LARGEST:
            raise DataError(f"holds a stream of over {_LARGEST >> 20} MiB", place="recording")
        if inflater.eof:
            break
    return bytes(content)
