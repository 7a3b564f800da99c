"""Connections: how many, how many of one address, and how long one may be silent.

An uvicorn connection that says nothing, or one letter a second, stays for ever. Here it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedpersona.aggregation.front.counters import CONNECTIONS, REFUSED

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

__all__ = ["Gate"]

_SHARE = 8  # an address that is not loopback has an eighth of all connections, at most
_LEAST_SHARE = 16
_LINGER_SECONDS = 0.2  # for the last bytes of an answer, once the server ends
_SWEEPS = 4  # in the time that a connection may be silent


class Gate:
    """Counts connections and ends those that are silent for too long.

    Args:
        most: connections at one time. Where they are all there, silent ones make room for new ones.
        slow_seconds: so long may pass until the whole head of a request is there.
        each: connections of one address; loopback, where a proxy or a test speaks for many, is free of it.
    """

    def __init__(self, most: int, slow_seconds: float, each: int | None = None) -> None:
        self._most = most
        self._slow_seconds = slow_seconds
        self._each = each if each is not None else max(_LEAST_SHARE, most // _SHARE)
        self._open: dict[GuardedProtocol, None] = {}  # in the order in which they came
        self._by_address: Counter[str] = Counter()

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """Return the protocol of one connection, as uvicorn asks for it."""
        return GuardedProtocol(self, config, server_state, app_state, _loop)

    @contextlib.asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """End silent connections as long as the context lasts."""
        task = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def drain(self) -> None:
        """End connections as soon as nothing is answered on them; return when none is left.

        A client that keeps a connection for later reads nothing from it, so TLS would wait for its goodbye in vain.
        """
        while self._open:
            for connection in [one for one in self._open if not one.answering]:
                self._end(connection)
            await asyncio.sleep(_LINGER_SECONDS)

    def end_all(self) -> None:
        """End all connections, whatever happens on them."""
        for connection in list(self._open):
            self._end(connection)

    def admit(self, connection: GuardedProtocol) -> bool:
        """Tell whether there is room for a new connection, after making it if need be."""
        address = connection.address
        if address and self._by_address[address] >= self._each:
            REFUSED.labels("connections of one address").inc()
            return False
        if len(self._open) >= self._most and not self._make_room():
            REFUSED.labels("connections").inc()
            return False
        self._open[connection] = None
        self._by_address[address] += 1
        CONNECTIONS.inc()
        return True

    def forget(self, connection: GuardedProtocol) -> None:
        """Count a connection no more. One that was not admitted is no error."""
        if connection not in self._open:
            return
        del self._open[connection]
        CONNECTIONS.dec()
        self._by_address[connection.address] -= 1
        if not self._by_address[connection.address]:
            del self._by_address[connection.address]

    def _make_room(self) -> bool:
        for connection in self._open:
            if connection.silent_since is not None and not connection.served:
                REFUSED.labels("silent, room needed").inc()
                self._end(connection)
                return True
        return False

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._slow_seconds / _SWEEPS)
            before = time.monotonic() - self._slow_seconds
            for connection in list(self._open):
                if connection.silent_since is not None and connection.silent_since < before:
                    REFUSED.labels("silent").inc()
                    self._end(connection)

    def _end(self, connection: GuardedProtocol) -> None:
        self.forget(connection)
        connection.transport.abort()


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which knows how long it has been silent."""

    def __init__(
        self,
        gate: Gate,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._gate = gate
        self.address = ""
        """Where it comes from; empty on loopback."""
        self.silent_since: float | None = time.monotonic()
        """Since when a request is awaited that is not whole; None while one is answered or none has begun."""
        self.served = False
        """Whether a request was answered here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or end it at once."""
        super().connection_made(transport)
        self.address = _far(self.client[0]) if self.client else ""
        if not self._gate.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._gate.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a request that has begun must come to the end of its head in time."""
        if self.silent_since is None and not self.answering:
            self.silent_since = time.monotonic()
        super().data_received(data)
        if self.answering:
            self.silent_since = None

    def on_response_complete(self) -> None:
        """After an answer uvicorn's own patience counts, until the next byte arrives."""
        self.served = True
        self.silent_since = None
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete


def _far(host: str) -> str:
    """Return a host that is not loopback; addresses of one IPv6 network are one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
