"""The front as one ASGI application: what is answered, and that nothing else is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fedpersona.aggregation.front.bell import ring
from fedpersona.aggregation.front.counters import METRICS
from fedpersona.aggregation.front.enrolment import LARGEST_REQUEST, Control, Enrolment
from fedpersona.aggregation.front.fleet_proxy import FLEET_PATHS, FleetProxy
from fedpersona.aggregation.front.limits import Limits
from fedpersona.aggregation.front.public import Public
from fedpersona.aggregation.front.recording import Record, Recorded
from fedpersona.aggregation.front.state import Server
from fedpersona.aggregation.front.transparency import transparency_json, transparency_page
from fedpersona.aggregation.front.watch import Watch
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.trainings import Trainings

if TYPE_CHECKING:
    from starlette.requests import Request
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.database import Database

__all__ = ["METRICS", "assemble", "front_app"]

_PUBLIC = frozenset(("/", "/v1/transparency", "/v1/status", "/v1/bell", "/v1/catalogue", "/v1/release", "/v1/enrol"))
_WORDS = {404: "no such page", 405: "this is not how this page is asked for"}
_MODEL = re.compile(r"/v1/models/[^/]{1,100}")


def assemble(config: ServerConfig, database: Database, log: FilteringBoundLogger) -> Server:
    """Return what the endpoints share."""
    roster, journal, registry = Roster(database), Journal(database), Registry(database, config.models)
    return Server(
        config=config,
        database=database,
        roster=roster,
        journal=journal,
        registry=registry,
        trainings=Trainings(database, config.models),
        watch=Watch(database.path, roster, journal, registry, log),
        log=log,
    )


def front_app(
    server: Server,
    control: Callable[[], AbstractContextManager[Control]],
    *,
    record: Record | None = None,
) -> Starlette:
    """Return the application.

    Args:
        server: see :func:`assemble`.
        control: opens Flower's Control API.
        record: is given all that passes (:mod:`~fedpersona.aggregation.front.recording`); by default nothing is.
    """
    config = server.config
    proxy = FleetProxy(
        f"https://127.0.0.1:{config.server.superlink_port}", config.server.superlink_authority, server.watch, server.log
    )
    public = Public(server)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with proxy, server.watch.running():
            yield

    routes = [
        Route("/v1/fleet/{name}", proxy),
        Route("/v1/enrol", Enrolment(server, control).answer, methods=["POST"]),
        Route("/v1/status", public.status),
        Route("/v1/bell", ring),
        Route("/v1/catalogue", public.catalogue),
        Route("/v1/release", public.release),
        Route("/v1/models/{hash}", public.model),
        Route("/v1/transparency", transparency_json),
        Route("/", transparency_page),
    ]

    def largest(path: str) -> int:
        if path in FLEET_PATHS:
            return config.limits.largest_body
        return LARGEST_REQUEST if path == "/v1/enrol" else 0

    middleware = [Middleware(Limits, counted_as, largest, config.limits.slow_seconds)]
    if record is not None:
        middleware.insert(0, Middleware(Recorded, record))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    app.state.server = server
    return app


def counted_as(path: str) -> str:
    """Return the name under which a path is counted: a known path, or a word."""
    if path in FLEET_PATHS or path in _PUBLIC:
        return path
    return "/v1/models" if _MODEL.fullmatch(path) else "other"


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for nothing else
    words = _WORDS.get(error.status_code, error.detail)
    return JSONResponse({"error": words}, error.status_code, headers=error.headers)


async def _failed(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the server made a mistake; its log says which"}, 500)
