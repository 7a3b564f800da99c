"""HTTPS as a device speaks it: one trusted server, bounded answers, and no call that cannot be given up.

Built on the transport of httpx, below its client: there are no redirects, cookies, proxies or compressed answers to
turn off, since the layer that knows them is not used.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from fedpersona import __version__
from fedpersona.device.address import normalised
from fedpersona.device.background import Stop
from fedpersona.device.https_errors import in_our_words
from fedpersona.device.https_lane import Lane
from fedpersona.errors import ServerUnreachable, ServerUntrusted, Stopped

__all__ = ["Answer", "Https"]

_SLICE = 0.15  # seconds between two looks at the wish to stop
_LONGEST_CONNECT = 10.0  # seconds; a thread that was given up while it connects lives so long at most


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    """HTTP status: 200 to 299, 304 where an ETag was sent, or 400 to 599."""
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """By name in lower case; of several by one name, the last."""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


class Https:
    """The way to one server. May be used by several threads at once; end it with :meth:`close` or a ``with`` block.

    A connection is kept open for the next call. Each call runs in a thread that does not keep a program from ending.

    Args:
        address: ``https://…``, with or without a path.
        authority: certificate (DER) of the only authority that is trusted; None for those of the system.
        stop: the app's wish to stop: a call returns within 0.3 seconds of it, whatever the server does.

    Raises:
        ConfigError: the address is none.
        ServerUntrusted: it is not one of HTTPS, or the authority is no certificate.
    """

    def __init__(self, address: str, authority: bytes | None = None, stop: Stop | None = None) -> None:
        self.address = normalised(address)
        if not self.address.startswith("https://"):
            raise ServerUntrusted(f"{self.address}: is not encrypted: a device speaks https:// only")
        self._context = _context(authority, self.address)
        self._stop = stop
        self._lock = threading.Lock()
        self._idle: list[Lane] = []
        self._busy: set[_Call] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"Https({self.address})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self,
        path: str,
        *,
        most: int,
        seconds: float = 30.0,
        headers: Mapping[str, str] | None = None,
        etag: str | None = None,
    ) -> Answer:
        """Fetch ``path``.

        Args:
            path: after the address, from ``/`` on; a query may follow.
            most: bytes of the answer's body, at most.
            seconds: until the answer is there whole.
            headers: further ones.
            etag: of the copy that is at hand; where it is still right the answer has status 304 and no body.

        Raises:
            ServerUntrusted: something else than the agreed server answers.
            ServerUnreachable: no whole answer came in time, or it is larger than ``most``.
            Stopped: the app wished to stop.
        """
        more = {} if etag is None else {"if-none-match": etag}
        return self._call("GET", path, None, {**(headers or {}), **more}, most, seconds)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        most: int,
        media: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
        seconds: float = 30.0,
    ) -> Answer:
        """Send ``body`` to ``path``. It is never sent twice by itself.

        Args:
            path: after the address, from ``/`` on.
            body: what is sent.
            most: bytes of the answer's body, at most.
            media: the body's media type.
            headers: further ones.
            seconds: until the answer is there whole.

        Raises:
            ServerUntrusted: something else than the agreed server answers.
            ServerUnreachable: no whole answer came in time, or it is larger than ``most``.
            Stopped: the app wished to stop.
        """
        return self._call("POST", path, body, {**(headers or {}), "content-type": media}, most, seconds)

    def close(self) -> None:
        """Close every connection; calls that are under way end at once."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = tuple(self._busy)
        for lane in idle:
            lane.close()
        for call in busy:
            call.give_up()

    # -- inner workings --

    def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], most: int, seconds: float
    ) -> Answer:
        if not path.startswith("/") or not (path.isascii() and path.isprintable()) or " " in path:
            raise ValueError("a path begins with '/' and consists of printable ASCII letters without spaces")
        if self._stop is not None:
            self._stop.check()
        sent = {
            "user-agent": f"fedpersona/{__version__}",
            "accept": "*/*",
            **{name.lower(): value for name, value in headers.items()},
            "accept-encoding": "identity",
        }
        call = _Call(self, method, path, body, sent, most, seconds)
        call.start()
        self._await(call, seconds)
        if call.error is not None:
            raise in_our_words(call.error, self.address, seconds) from None
        assert call.answer is not None  # noqa: S101 - a call that is done has one or the other
        return call.answer

    def _await(self, call: _Call, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if call.done.wait(max(0.0, left if self._stop is None else min(left, _SLICE))):
                return
            if self._stop is not None and self._stop.wished:
                call.give_up()
                raise Stopped("stopped by the app while a server was asked")
            if left <= _SLICE and time.monotonic() >= deadline:
                call.give_up()
                raise ServerUnreachable(
                    f"{self.address}: gave no whole answer within {seconds:g} seconds; it is tried again later"
                )

    def _take_lane(self, call: _Call) -> Lane:
        with self._lock:
            if self._closed:
                raise ServerUnreachable(f"{self.address}: this device closed the connection")
            self._busy.add(call)
            return self._idle.pop() if self._idle else Lane(self._context)

    def _cut(self, call: _Call, lane: Lane | None) -> None:
        with self._lock:
            if lane is not None and call in self._busy:  # else it may be another call's by now
                lane.give_up()

    def _give_lane_back(self, call: _Call, lane: Lane, *, whole: bool) -> None:
        with self._lock:
            self._busy.discard(call)
            keep = whole and not self._closed and not lane.given_up
            if keep:
                self._idle.append(lane)
        if not keep:
            lane.close()


class _Call:
    """One request in a thread of its own."""

    def __init__(
        self,
        owner: Https,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        most: int,
        seconds: float,
    ) -> None:
        self._owner = owner
        self._request = (method, owner.address + path, body, headers)
        self._etag = "if-none-match" in headers
        self._most = most
        self._seconds = seconds
        self._lane: Lane | None = None
        self.done = threading.Event()
        self.answer: Answer | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        self._lane = self._owner._take_lane(self)
        try:
            threading.Thread(target=self._run, name="fedpersona https", daemon=True).start()
        except RuntimeError as error:  # no room for another thread, or the program is ending
            self._owner._give_lane_back(self, self._lane, whole=False)
            raise ServerUnreachable(f"{self._owner.address}: was not asked ({error})") from None

    def give_up(self) -> None:
        """Cut the connection, which wakes the thread; it closes everything and ends."""
        self._owner._cut(self, self._lane)

    def _run(self) -> None:
        assert self._lane is not None  # noqa: S101 - set by start()
        whole = False
        try:
            self.answer = self._exchange(self._lane)
            whole = True
        except Exception as error:
            error.__traceback__ = None  # its frames hold what was sent
            self.error = error
        finally:
            self._owner._give_lane_back(self, self._lane, whole=whole)
            self.done.set()

    def _exchange(self, lane: Lane) -> Answer:
        method, url, body, headers = self._request
        timeout = {
            "connect": min(self._seconds, _LONGEST_CONNECT),
            "read": self._seconds,
            "write": self._seconds,
            "pool": self._seconds,
        }
        with lane.exchange(method, url, headers, body, timeout) as response:
            found = {name.lower(): value for name, value in response.headers.multi_items()}
            self._check_head(response.status_code, found)
            received = bytearray()
            for piece in response.iter_raw():
                if len(received) + len(piece) > self._most:
                    raise self._too_much()
                received += piece
        return Answer(response.status_code, bytes(received), found)

    def _check_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Refuse an answer by its head, before anything of its body is read."""
        address = self._owner.address
        if 300 <= status < 400 and not (status == 304 and self._etag):
            raise ServerUntrusted(f"{address}: sends this device on to another address, which it does not follow")
        if not 200 <= status < 600:
            raise ServerUnreachable(f"{address}: answers with a status that is none ({status})")
        if headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise ServerUnreachable(f"{address}: answers compressed, which was not asked for: it is not unpacked")
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self._most:
            raise self._too_much()

    def _too_much(self) -> ServerUnreachable:
        return ServerUnreachable(
            f"{self._owner.address}: answers with more than the {self._most:,} bytes that were agreed: refused"
        )


def _context(authority: bytes | None, address: str) -> ssl.SSLContext:
    """Return what a server's certificate is checked against: host name and authority, TLS 1.2 at least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cadata=_one_certificate(authority))
    except (ssl.SSLError, ValueError):
        raise ServerUntrusted(
            f"{address}: the authority to check it against is no certificate: ask for another invitation"
        ) from None
    return context


def _one_certificate(authority: Any) -> str:
    """Return one DER certificate as PEM; what is empty, or several in a row, is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_der_x509_certificate(authority).public_bytes(Encoding.PEM).decode("ascii")
