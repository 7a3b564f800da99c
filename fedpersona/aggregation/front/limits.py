"""What the front takes from anyone: paths of one form, bodies of a size, and time to send them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from fedpersona.aggregation.front.counters import BYTES, REFUSED, REQUESTS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Attempts", "Limits", "refusal"]

_MINUTE = 60.0
_MOST_ADDRESSES = 10_000  # remembered at one time
_ODD = (b"%", b"..", b"//", b"\\")  # of a path
_RETRY = 5  # seconds after which a device may come again, where nothing better is known


class _NotTaken(Exception):
    """The other side does not take its answer."""


def refusal(status: int, words: str, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer ``{"error": words}``, and count it under ``reason``."""
    REFUSED.labels(reason).inc()
    extra = {"retry-after": str(_RETRY)} if status == 503 else {}
    return JSONResponse({"error": words}, status, headers={**extra, **(headers or {})})


class Attempts:
    """How often something was tried within a minute, in all, and failed from one address.

    Args:
        in_all: most tries in a minute.
        each: most failures of one address in a minute.
        clock: seconds, monotonic.
    """

    def __init__(self, in_all: int, each: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._in_all = in_all
        self._each = each
        self._clock = clock
        self._tried: deque[float] = deque()
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def allowed(self, address: str) -> bool:
        """Tell whether an address may try now, and count the try if so."""
        now = self._clock()
        _forget(self._tried, now)
        failures = self._failed.get(address, deque())
        _forget(failures, now)
        if len(self._tried) >= self._in_all or len(failures) >= self._each:
            return False
        self._tried.append(now)
        return True

    def failed(self, address: str) -> None:
        """Count a failure against an address."""
        self._failed.setdefault(address, deque()).append(self._clock())
        self._failed.move_to_end(address)
        while len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - _MINUTE:
        times.popleft()


class Limits:
    """ASGI middleware: refuses odd paths, large and slow bodies; counts requests and bytes.

    Args:
        app: what it stands before.
        named: gives the name under which a path is counted; it must know few.
        largest: gives the most bytes of a body that a path takes.
        slow_seconds: a body must have arrived by then, and each piece of an answer must have been taken.
    """

    def __init__(
        self,
        app: ASGIApp,
        named: Callable[[str], str],
        largest: Callable[[str], int],
        slow_seconds: float,
    ) -> None:
        self.app = app
        self._named = named
        self._largest = largest
        self._slow_seconds = slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self._named(scope["path"]), receive, send, self._slow_seconds)
        try:
            await self._checked(exchange, scope)
        finally:
            exchange.count()

    async def _checked(self, exchange: _Exchange, scope: Scope) -> None:
        if not _plain(scope):
            await refusal(404, "no such page", "path")(scope, exchange.receive, exchange.send)
            return
        exchange.largest = self._largest(scope["path"])
        if exchange.declared_too_large(scope):
            await refusal(413, exchange.too_large, "body too large")(scope, exchange.receive, exchange.send)
            return
        with contextlib.suppress(_NotTaken):  # uvicorn closes a connection whose answer has no end
            await self.app(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer, watched."""

    def __init__(self, name: str, receive: Receive, send: Send, slow_seconds: float) -> None:
        self.largest = 0
        self._name = name
        self._receive = receive
        self._send = send
        self._slow_seconds = slow_seconds
        self._deadline = asyncio.get_running_loop().time() + slow_seconds
        self._arrived = False
        self._bytes_in = 0
        self._bytes_out = 0
        self._status = 0

    @property
    def too_large(self) -> str:
        """Why a body is refused."""
        return f"the body is over {self.largest} bytes, the most that this path takes"

    def declared_too_large(self, scope: Scope) -> bool:
        """Judge by what the request says of itself, before a byte of its body is read."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return any(not value.isdigit() or int(value) > self.largest for value in lengths)

    async def receive(self) -> Message:
        """Pass the next piece of the body on."""
        if self._arrived:  # what comes next is the end of the connection, for which there is no hurry
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            REFUSED.labels("body too slow").inc()
            words = f"the body had not arrived after {self._slow_seconds:g} seconds"
            raise HTTPException(408, words, {"connection": "close"}) from None
        self._arrived = not message.get("more_body", False)
        self._bytes_in += len(message.get("body", b""))
        if self._bytes_in > self.largest:
            REFUSED.labels("body too large").inc()
            raise HTTPException(413, self.too_large)
        return message

    async def send(self, message: Message) -> None:
        """Pass the next piece of the answer on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        self._bytes_out += len(message.get("body", b""))
        try:
            async with asyncio.timeout(self._slow_seconds):
                await self._send(message)
        except TimeoutError:
            REFUSED.labels("answer not taken").inc()
            raise _NotTaken from None

    def count(self) -> None:
        """Add the exchange to the metrics."""
        REQUESTS.labels(self._name, str(self._status or "none")).inc()
        BYTES.labels(self._name, "in").inc(self._bytes_in)
        BYTES.labels(self._name, "out").inc(self._bytes_out)


def _plain(scope: Scope) -> bool:
    """Tell whether a path is written the one way it is known: nothing escaped, nothing that climbs."""
    raw = scope.get("raw_path") or b""
    return bool(raw == scope["path"].encode() and raw.startswith(b"/") and not any(odd in raw for odd in _ODD))
