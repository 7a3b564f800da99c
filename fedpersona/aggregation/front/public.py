"""What anyone may fetch: the state in a word, the catalogue, the released model, the models of open rounds."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, JSONResponse, Response

from fedpersona.aggregation.front.bell import heard
from fedpersona.aggregation.front.limits import refusal

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from fedpersona.aggregation.front.state import Server

__all__ = ["Public"]

_HASH = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 18  # bytes handed to a connection at once: what a slow device has not taken is kept for each
_FILE = "application/octet-stream"
_NONE = {"cache-control": "no-cache"}


@dataclass(frozen=True)
class _Kept:
    """A file in memory that every device fetches."""

    data: bytes
    etag: str
    mark: object
    """What it was made from; another mark, another file."""


class Public:
    """The endpoints of public files.

    Args:
        server: the state.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._release: _Kept | None = None
        self._catalogue: _Kept | None = None
        self._version = ""
        self._one = asyncio.Lock()

    async def status(self, _: Request) -> Response:
        """``GET /v1/status``."""
        await self._current_catalogue()
        picture = self._server.watch.picture
        told = {
            "federation": self._server.config.federation.name,
            "state": picture.state,
            **heard(self._server),
            "release": picture.release,
            "catalogue": self._version,
        }
        return JSONResponse(told, headers={"cache-control": "no-store"})

    async def release(self, request: Request) -> Response:
        """``GET /v1/release``: the promoted model under the operator's signature."""
        tag = self._server.watch.picture.release_tag
        if tag is None:
            return refusal(404, "no model was released yet", "no release", _NONE)
        async with self._one:
            if self._release is None or self._release.mark != tag:
                self._release = await asyncio.to_thread(_kept, self._server.registry.release, tag)
            kept = self._release
        return (
            refusal(404, "no model was released yet", "no release", _NONE) if kept is None else _answer(request, kept)
        )

    async def catalogue(self, request: Request) -> Response:
        """``GET /v1/catalogue``: the sealed catalogue."""
        kept = await self._current_catalogue()
        return (
            refusal(503, "the catalogue is not there: come again", "no catalogue")
            if kept is None
            else _answer(request, kept)
        )

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/<hash>``: a model that a plan names."""
        name = request.path_params["hash"]
        path = await asyncio.to_thread(self._server.registry.packed, name) if _HASH.fullmatch(name) else None
        if path is None:
            return refusal(404, "no such model is in use", "no model", _NONE)
        headers = {"cache-control": "public, max-age=31536000, immutable", "etag": f'"{name}"'}
        return FileResponse(path, media_type=_FILE, headers=headers)

    async def _current_catalogue(self) -> _Kept | None:
        """Return the catalogue as it is now; an operator may publish another one under the same name."""
        path = self._server.config.model.catalogue
        async with self._one:
            self._catalogue = await asyncio.to_thread(_read, path, self._catalogue)
            if self._catalogue is not None:
                self._version = _sealed_version(self._catalogue.data)
            return self._catalogue


class _Pieces(Response):
    """Bytes in pieces, each handed over when the one before was taken."""

    def __init__(self, data: bytes, headers: dict[str, str]) -> None:
        super().__init__(b"", headers=headers, media_type=_FILE)
        self.body = data
        self.headers["content-length"] = str(len(data))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        pieces = _cut(self.body) if scope["method"] == "GET" else iter(())
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _cut(data: bytes | memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield bytes(data[start : start + _PIECE])


def _answer(request: Request, kept: _Kept) -> Response:
    headers = {"etag": kept.etag, "cache-control": "no-cache"}
    if kept.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _Pieces(kept.data, headers)


def _kept(read: Callable[[], bytes | None], mark: object) -> _Kept | None:
    data = read()
    return None if data is None else _Kept(data, f'"{hashlib.sha256(data).hexdigest()}"', mark)


def _read(path: Path, before: _Kept | None) -> _Kept | None:
    """Read a file if it is another than before; None where there is none."""
    try:
        found = path.stat()
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        return before if before is not None and before.mark == mark else _kept(path.read_bytes, mark)
    except OSError:
        return before


def _sealed_version(data: bytes) -> str:
    """Return the version that a sealed catalogue's first line names, empty where it is none."""
    try:
        version = json.loads(data[:4096].partition(b"\n")[0])["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return version if isinstance(version, str) else ""
