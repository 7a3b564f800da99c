"""The operator's own pages on loopback: health, readiness, metrics, rounds as JSON, and the dashboard."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.ops.dashboard import dashboard, rounds
from fedpersona.aggregation.ops.health import look, ready
from fedpersona.aggregation.ops.metrics import journal_metrics
from fedpersona.aggregation.pages import HEADERS
from fedpersona.errors import FedpersonaError

__all__ = ["ops_app"]

_OURS = frozenset({"127.0.0.1", "localhost", "[::1]"})
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def ops_app(config: ServerConfig, database: Database, extra: CollectorRegistry | None = None) -> Starlette:
    """Return the operator's pages as an ASGI application, to be served on loopback: it asks nobody for a password.

    Args:
        config: of the server.
        database: of the server.
        extra: metrics of the process that serves the pages, told beside those of the journal.
    """
    app = Starlette(
        routes=[
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", _ready, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
            Route("/v1/rounds", _rounds, methods=["GET"]),
            Route("/", dashboard, methods=["GET"]),
        ],
        middleware=[Middleware(OnlyLoopback)],
        exception_handlers={FedpersonaError: _named_error},
    )
    app.state.config = config
    app.state.database = database
    app.state.registries = (journal_metrics(database, config), *(() if extra is None else (extra,)))
    return app


class OnlyLoopback:
    """Answers to loopback's names only, so that no page in a browser that points its own name here reads ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and not _ours(Headers(scope=scope).getlist("host")):
            refusal = PlainTextResponse("These pages answer to 127.0.0.1 and localhost, and to no other name.\n", 421)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _ours(hosts: list[str]) -> bool:
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].lower().rpartition(":")
    return hosts[0].lower() in _OURS or (bool(colon) and name in _OURS and port.isascii() and port.isdigit())


def _alive(request: Request) -> Response:
    return PlainTextResponse("The process lives.\n", headers=_headers())


def _ready(request: Request) -> Response:
    findings = look(request.app.state.config, request.app.state.database)
    well = ready(findings)
    body = {"ready": well, "findings": [asdict(found) for found in findings]}
    return JSONResponse(body, 200 if well else 503, headers=_headers())


def _metrics(request: Request) -> Response:
    text = b"".join(generate_latest(registry) for registry in request.app.state.registries)
    return Response(text, media_type=_METRICS_TYPE, headers=_headers())


def _rounds(request: Request) -> Response:
    return JSONResponse({"rounds": rounds(request.app.state.database)}, headers=_headers())


def _named_error(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 503, headers=_headers())


def _headers() -> dict[str, str]:
    return {**HEADERS, "Cache-Control": "no-store"}
