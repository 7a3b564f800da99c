"""Devices' traffic with Flower: nine paths, enrolled keys, streamed to the SuperLink on loopback and back.

The SuperLink proves that a request was signed with the key that it names and that the key owns the node it speaks for.
Here it is only asked whether that key belongs to a device that takes part, so that a revocation acts at once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fedpersona.aggregation.front.limits import refusal
from fedpersona.errors import DataError, DataNotFound

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.front.watch import Watch

__all__ = ["FLEET_PATHS", "FleetProxy"]

FLEET_PATHS = frozenset(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "get-run",
        "push-object",
        "pull-object",
        "confirm-message-received",
    )
)
"""What devices may ask of Flower. Registering is ours (enrolment), and no device asks for an app bundle."""

_PUBLIC_KEY = b"flwr-public-key"
_UP = frozenset(
    (
        b"content-type",
        b"content-length",
        b"accept",
        _PUBLIC_KEY,
        b"flwr-signature",
        b"flwr-timestamp",
        b"flwr-package-name",
        b"flwr-package-version",
        b"flwr-component-name",
    )
)
_DOWN = frozenset((b"content-type", b"content-length", b"retry-after", b"flwr-version-incompatibility-message"))
_LONGEST_KEY = 4096  # characters in base64; P-384 has 292
_WORKERS = 16  # the SuperLink writes one thing at a time; of 64 at once some wait longer than its database lets them
_KEPT_SECONDS = 3.0  # the SuperLink closes a connection after 5 silent ones
_CONNECT_SECONDS = 2.0
_QUEUE_SECONDS = 20.0
_ANSWER_SECONDS = 60.0


class FleetProxy:
    """ASGI application for the paths of :data:`FLEET_PATHS`.

    Args:
        address: of the SuperLink, ``https://127.0.0.1:port``.
        authority: PEM certificate that the SuperLink's must come from.
        watch: knows who takes part.
        log: is told when the SuperLink does not answer.

    Raises:
        DataNotFound: the authority's certificate is not there.
    """

    def __init__(self, address: str, authority: Path, watch: Watch, log: FilteringBoundLogger) -> None:
        self._address = httpx.URL(address)
        self._watch = watch
        self._log = log
        self._down = False
        # httpx looks through all who wait whenever one is done; a thousand wait in line here, where that costs nothing.
        self._places = asyncio.Semaphore(_WORKERS)
        self._client = httpx.AsyncClient(
            verify=_trusting(authority),
            http2=False,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(
                max_connections=_WORKERS, max_keepalive_connections=_WORKERS, keepalive_expiry=_KEPT_SECONDS
            ),
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS, pool=_QUEUE_SECONDS),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a device."""
        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        try:
            await asyncio.wait_for(self._places.acquire(), _QUEUE_SECONDS)
        except TimeoutError:
            await refusal(503, "the server is busy: come again", "superlink busy")(scope, receive, send)
            return
        try:
            await self._pass(scope, receive, send)
        finally:
            self._places.release()

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name in _UP]
        request = httpx.Request(
            "POST", self._address.copy_with(path=scope["path"]), headers=headers, content=_body(receive)
        )
        try:
            answer = await self._client.send(request, stream=True)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            self._say_down(type(error).__name__)
            await refusal(503, "the server is restarting: come again", "superlink down")(scope, receive, send)
            return
        self._down = False
        if answer.status_code == 500:  # its database was locked for too long: nothing was done, and a device asks again
            await answer.aclose()
            await refusal(503, "the server is busy: come again", "superlink busy")(scope, receive, send)
            return
        try:
            await self._pass_down(answer, send)
        finally:
            await answer.aclose()

    def _refused(self, scope: Scope) -> Response | None:
        """Return why a request is not passed on, None where it is."""
        if scope["path"] not in FLEET_PATHS or scope["query_string"]:
            return refusal(404, "no such page", "path")
        if scope["method"] != "POST":
            return refusal(405, "only POST is answered here", "method", {"allow": "POST"})
        names = [name for name, _ in scope["headers"] if name in _UP]
        if len(set(names)) != len(names):
            return refusal(400, "a header comes twice", "headers")
        return self._key_refused(dict(scope["headers"]))

    def _key_refused(self, headers: Mapping[bytes, bytes]) -> Response | None:
        key = _decoded(headers.get(_PUBLIC_KEY, b""))
        if not self._watch.fresh:
            return refusal(503, "the server cannot read who takes part: come again", "state unreadable")
        if key in self._watch.picture.allowed:
            return None
        if key in self._watch.picture.revoked:
            return refusal(403, "revoked", "revoked device")
        return refusal(403, "unknown device", "unknown device")

    async def _pass_down(self, answer: httpx.Response, send: Send) -> None:
        if 300 <= answer.status_code < 400:
            raise HTTPException(502, "the SuperLink sent this request elsewhere, which is not followed")
        headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() in _DOWN]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        # Where it breaks off here, the answer has no end, and the device sees that.
        with contextlib.suppress(httpx.HTTPError):
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _say_down(self, problem: str) -> None:
        if not self._down:
            self._log.warning("superlink.silent", problem=problem)
        self._down = True


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the body of a request piece by piece.

    Raises:
        HTTPException: the device left half-way.
    """
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the connection ended before the body did")
        more = message.get("more_body", False)
        if piece := message.get("body", b""):
            yield piece


def _decoded(key: bytes) -> bytes:
    """Return the PEM of a key from its header, empty where it is none."""
    try:
        return base64.b64decode(key, validate=True) if len(key) <= _LONGEST_KEY else b""
    except (binascii.Error, ValueError):
        return b""


def _trusting(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except FileNotFoundError:
        raise DataNotFound(
            "the SuperLink's authority is not there: run 'fedpersona serve init'", path=authority
        ) from None
    except ssl.SSLError:
        raise DataError("is no certificate: run 'fedpersona serve init'", path=authority) from None
