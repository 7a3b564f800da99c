"""One connection to a server, which another thread can cut at any moment."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

__all__ = ["Lane"]

_KEPT = 4.0  # seconds that an idle connection is used again; servers commonly close theirs after five


class Lane:
    """A transport with one connection at most, kept for the next request.

    Args:
        context: what the server's certificate is checked against.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        import httpx  # not needed to open a device

        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT)
        self._transport = httpx.HTTPTransport(verify=context, trust_env=False, limits=limits)
        self._lock = threading.Lock()
        self._stream: Any = None
        self._dialling: socket.socket | None = None  # a second handle, while the first is inside the TLS handshake
        self.given_up = False

    @contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: Mapping[str, float]
    ) -> Iterator[httpx.Response]:
        """Send a request and give the answer, its body still to be read from ``stream``.

        Raises:
            httpx.TransportError: nothing, or nothing whole, came back.
        """
        import httpx

        request = httpx.Request(
            method, url, headers=dict(headers), content=body, extensions={"timeout": timeout, "trace": self._seen}
        )
        try:
            response = self._transport.handle_request(request)
        finally:
            self._let_go_of_dialling()
        try:
            yield response
        finally:
            response.close()

    def give_up(self) -> None:
        """Cut the connection: whoever waits for it is told at once that it ended."""
        with self._lock:
            self.given_up = True
            self._cut()

    def close(self) -> None:
        """Close the connection. Not while an exchange is under way: then :meth:`give_up` comes first."""
        self._let_go_of_dialling()
        with suppress(Exception):  # an end that fails is an end
            self._transport.close()

    def _seen(self, event: str, details: Mapping[str, Any]) -> None:
        """Follow the connection as it is made; see httpcore, 'trace' extension."""
        if event == "connection.connect_tcp.complete":
            with self._lock:
                self._stream = details["return_value"]
                self._dialling = self._stream.get_extra_info("socket").dup()
                self._cut_if_given_up()
        elif event == "connection.start_tls.complete":
            with self._lock:
                self._stream = details["return_value"]
                self._cut_if_given_up()
            self._let_go_of_dialling()

    def _cut_if_given_up(self) -> None:
        if self.given_up:
            self._cut()

    def _cut(self) -> None:
        known = None if self._stream is None else self._stream.get_extra_info("socket")
        for handle in (self._dialling, known):
            if handle is not None:
                with suppress(OSError):  # it has ended already
                    # Below TLS: the reading thread still uses what SSLSocket.shutdown would take away.
                    socket.socket.shutdown(handle, socket.SHUT_RDWR)

    def _let_go_of_dialling(self) -> None:
        with self._lock:
            handle, self._dialling = self._dialling, None
        if handle is not None:
            handle.close()
