"""A recording of all that passes the front, where TLS has been taken off: for the proof that no history is in it.

Off unless it is asked for, in code or by ``FEDPERSONA_RECORD_WIRE=<file>``. Such a file holds tokens and whatever else
devices send: it is for demonstrations, never for a federation of people.

The file is frames, each ``length of the name (4 bytes, big-endian), length of the bytes (8), name, bytes``; a name is
``> POST /v1/enrol`` for what comes in and ``< POST /v1/enrol`` for what goes out; headers are lines before the body.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fedpersona.errors import DataError, OutputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["VARIABLE", "Record", "Recorded", "frames", "recorder"]

VARIABLE = "FEDPERSONA_RECORD_WIRE"
"""Names the file to append to."""

Record = Callable[[str, bytes], None]
"""Takes the direction and path, and the bytes."""

_LENGTHS = struct.Struct(">IQ")


class Recorded:
    """ASGI middleware that gives both directions of each exchange to ``record``, whole, when it is over."""

    def __init__(self, app: ASGIApp, record: Record) -> None:
        self.app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = f"{scope['method']} {scope['path']}"
        came = bytearray(scope["query_string"] + b"\n" + _lines(scope["headers"]))
        went = bytearray()

        async def receiving() -> Message:
            message = await receive()
            came.extend(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            went.extend(_lines(message.get("headers", ())) + message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        finally:
            self._record(f"> {name}", bytes(came))
            self._record(f"< {name}", bytes(went))


def recorder(path: Path) -> Record:
    """Return what appends frames to a file that only its owner reads.

    Raises:
        OutputError: it cannot be written.
    """

    def record(name: str, data: bytes) -> None:
        title = name.encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(_LENGTHS.pack(len(title), len(data)) + title + data)

    try:
        path.touch(0o600)
    except OSError as error:
        raise OutputError(
            f"{path}: the traffic cannot be recorded here ({error.strerror}): name another file"
        ) from None
    return record


def frames(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each frame of a recording.

    Raises:
        DataError: the file is cut off, or no recording.
    """
    left = path.stat().st_size
    with path.open("rb") as file:
        while left:
            head = file.read(_LENGTHS.size)
            title, size = _LENGTHS.unpack(head) if len(head) == _LENGTHS.size else (0, 0)
            left -= _LENGTHS.size + title + size
            if not title or left < 0:
                raise DataError("is cut off, or no recording of a front", path=path)
            yield file.read(title).decode(), file.read(size)


def _lines(headers: object) -> bytes:
    pairs: list[tuple[bytes, bytes]] = list(headers)  # type: ignore[call-overload]
    return b"".join(name + b": " + value + b"\n" for name, value in pairs)
