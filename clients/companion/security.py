"""Who may see the pages: the browser that opened the address from the terminal, and nobody else.

The server listens on loopback only, but other programs, other users of the machine and every web page in the owner's
browser can reach that. So each request must name our host (a page elsewhere that points its own name at this machine
does not), come from our own pages, and carry the cookie that the one-time address was exchanged for. What changes
anything carries a second secret in its form.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FORM_SECRET", "HOST", "Door", "Guard", "Session"]

HOST = "127.0.0.1"
FORM_SECRET = "form_secret"  # noqa: S105 - the name of a field

_MOST_SESSIONS = 16
_LOG = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "browsing-topics=(), camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex, nofollow",
}


@dataclass
class Session:
    """One browser that came in by a one-time address."""

    form_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """What its forms carry; a page elsewhere cannot know it."""
    said: str = ""
    """What the last action came to, to be shown once."""


class Door:
    """Gives out one-time addresses and knows who came in by one.

    Args:
        port: that the server listens on.
        show: prints an address where only the owner reads it: their terminal.
    """

    def __init__(self, port: int, show: Callable[[str], None]) -> None:
        self.host = f"{HOST}:{port}"
        self.origin = f"http://{self.host}"
        self.cookie = f"companion_{port}"  # browsers do not keep the cookies of two ports apart
        self._show = show
        self._token: str | None = None
        self._sessions: dict[bytes, Session] = {}

    def __repr__(self) -> str:
        return f"Door({self.origin})"

    def show_address(self) -> str:
        """Print a one-time address and return it; where the last was not used yet, it is the same."""
        if self._token is None:
            self._token = secrets.token_urlsafe(32)
        address = f"{self.origin}/?token={self._token}"
        self._show(address)
        return address

    def replace_used_address(self) -> None:
        """Print a new address where the last was used: the owner may have closed the browser, or use another."""
        if self._token is None:
            self.show_address()

    def enter(self, token: str) -> str | None:
        """Exchange a one-time token for the value of a cookie; None for any other token, or this one again."""
        known = self._token
        # Compared always, and as bytes, so that the time tells nothing of it.
        same = compare_digest(hashlib.sha256(token.encode("utf-8", "replace")).digest(), _digest(known or ""))
        if known is None or not same:
            return None
        self._token = None
        cookie = secrets.token_urlsafe(32)
        while len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_digest(cookie)] = Session()
        return cookie

    def session(self, cookie: str | None) -> Session | None:
        """Return the session of a cookie's value, None where it has none."""
        return None if cookie is None else self._sessions.get(_digest(cookie))

    def close(self) -> None:
        """Let nobody in any more."""
        self._sessions.clear()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class Guard:
    """Stands before all pages: lets a request in or answers it, and puts the same headers on every answer.

    Args:
        app: the pages.
        door: who came in.
        refusal: makes a page that says no: status, headline, words.
        open_paths: what anyone may fetch: nothing of the owner's.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        refusal: Callable[[int, str, str], Response],
        open_paths: frozenset[str],
    ) -> None:
        self._app = app
        self._door = door
        self._refusal = refusal
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            answer = self._answer(scope)
            await (self._app if answer is None else answer)(scope, receive, guarded)
        except Exception as error:  # whatever it was, its words may hold a history
            _LOG.error("internal error: %s at %s", type(error).__name__, _place(error))
            if begun:
                raise ConnectionAbortedError("a page was cut off by an internal error") from None
            page = await run_in_threadpool(
                self._refusal,
                500,
                "Internal error",
                "Something of ours went wrong; what is kept is as it was. The terminal says where it happened.",
            )
            await page(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """Return what to answer, None to let the request in."""
        headers = Headers(scope=scope)
        if headers.getlist("host") != [self._door.host]:
            return self._refusal(
                421, "Another name for this machine", f"These pages answer to {self._door.origin} and no other name."
            )
        if scope["path"] in self._open_paths:
            return None
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and scope["method"] == "GET" and tokens:
            return self._enter(tokens[0])
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or (
            scope["method"] not in ("GET", "HEAD") and not self._from_us(headers)
        ):
            return self._refusal(
                403, "Not from here", "This was asked by another page than the Companion's own, and nothing was done."
            )
        session = self._door.session(cookie_parser(headers.get("cookie", "")).get(self._door.cookie))
        if session is None:
            self._door.replace_used_address()
            return self._refusal(
                403, "Only from your terminal", "Open the address that the Companion last printed in its terminal."
            )
        scope.setdefault("state", {})["session"] = session
        return None

    def _from_us(self, headers: Headers) -> bool:
        """Tell whether a browser says that one of our pages sent this.

        Our pages tell no referrer, and with that browsers send ``Origin: null`` even to ourselves; what they say in
        ``Sec-Fetch-Site`` no page can forge.
        """
        origin = headers.get("origin")
        if origin in (None, "null"):
            return headers.get("sec-fetch-site") == "same-origin"
        return origin == self._door.origin

    def _enter(self, token: str) -> Response:
        cookie = self._door.enter(token)
        if cookie is None:
            self._door.replace_used_address()
            return self._refusal(
                403,
                "This address was used",
                "Each address opens the Companion once. A new one is in the terminal now. If it was not you who "
                "used this one, stop the Companion there.",
            )
        response = RedirectResponse("/", 303)
        response.set_cookie(self._door.cookie, cookie, httponly=True, samesite="strict", path="/")
        return response


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "an unknown place" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
