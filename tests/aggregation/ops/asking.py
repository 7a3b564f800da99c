"""Ask an ASGI application without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.ops import ops_app


class Asking:
    """A browser of plain requests."""

    def __init__(self, app: Any, base: str) -> None:
        self._app = app
        self._base = base

    def get(self, path: str, headers: Any = None) -> httpx.Response:
        return self.ask("GET", path, headers)

    def ask(self, method: str, path: str, headers: Any = None) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(asked())


@dataclass
class Watched:
    """A server's state, and its operator's pages."""

    config: ServerConfig
    database: Database

    def client(self, extra: CollectorRegistry | None = None) -> Asking:
        return Asking(ops_app(self.config, self.database, extra), "http://127.0.0.1:9100")
