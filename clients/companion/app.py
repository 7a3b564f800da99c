"""The application: which address is which page, behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from clients.companion import actions, floors, invitations, pages
from clients.companion.forms import NotOurForm
from clients.companion.owner import Owner
from clients.companion.security import Door, Guard
from fedpersona.errors import FedpersonaError

__all__ = ["build"]

_PAGES = {**pages.PAGES, **invitations.PAGES, **floors.PAGES}
_ACTIONS = {**actions.ACTIONS, **invitations.ACTIONS, **floors.ACTIONS}
_STYLE = Path(__file__).parent / "static" / "companion.css"


def build(owner: Owner, door: Door, stop: Callable[[], None]) -> Starlette:
    """Return the Companion as an ASGI application.

    Args:
        owner: whose device it shows.
        door: lets their browser in.
        stop: is called, in the event loop, when everything was forgotten and the farewell has been read: the server
            is to stop.
    """
    app = Starlette(
        routes=[
            Route("/companion.css", _style, methods=["GET"]),
            *(Route(path, page, methods=["GET"]) for path, page in _PAGES.items()),
            *(Route(path, action, methods=["POST"]) for path, action in _ACTIONS.items()),
        ],
        middleware=[
            Middleware(
                Guard, door=door, refusal=pages.no_session, open_paths=frozenset({"/companion.css", "/favicon.ico"})
            )
        ],
        exception_handlers={
            FedpersonaError: pages.named_error,
            NotOurForm: pages.not_our_form,
            HTTPException: pages.http_error,
        },
    )
    app.state.owner = owner
    app.state.stop = stop
    return app


async def _style(request: Request) -> Response:
    return FileResponse(_STYLE, media_type="text/css")
