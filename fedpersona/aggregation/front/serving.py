"""The front as a process: two addresses, one event loop, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import disable_created_metrics

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front.app import METRICS, assemble, front_app
from fedpersona.aggregation.front.connections import Gate
from fedpersona.aggregation.front.listening import BACKLOG, listening, tls
from fedpersona.aggregation.front.recording import VARIABLE, Record, recorder
from fedpersona.aggregation.logs import JsonLog
from fedpersona.aggregation.ops.app import ops_app
from fedpersona.aggregation.superlink import Control
from fedpersona.errors import DataNotFound, ServerError

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.front.enrolment import Control as Registers

__all__ = ["serve", "serve_until"]

_KEPT_SECONDS = 75  # a connection that waits for its next request
_END_SECONDS = 2  # for answers that have begun
_OPS_CONNECTIONS = 64
_FILES = 65_536  # descriptors that are asked for; as many as the system grants are used


def serve(config: ServerConfig, *, record: Record | None = None, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads certificate and key again.

    Args:
        config: of the server.
        record: see :mod:`fedpersona.aggregation.front.recording`; by default what its variable says.
        ready: is called once both addresses are listened on.

    Raises:
        PortTaken: another program listens on one of the addresses.
        ServerError: the state or a file of the server is not as it should be.
    """

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve_until(
            stop, config, record=record, ready=ready, again=lambda read: loop.add_signal_handler(signal.SIGHUP, read)
        )

    _raise_limit()
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(main())


async def serve_until(
    stop: asyncio.Event,
    config: ServerConfig,
    *,
    control: Callable[[], AbstractContextManager[Registers]] | None = None,
    record: Record | None = None,
    ready: Callable[[], None] = lambda: None,
    again: Callable[[Callable[[], None]], None] = lambda _: None,
) -> None:
    """Serve until ``stop`` is set.

    Args:
        stop: ends it.
        config: of the server.
        control: opens Flower's Control API; by default that of the configured SuperLink.
        record: is given all traffic; by default what its variable says.
        ready: is called once both addresses are listened on.
        again: is given what reads certificate and key again.

    Raises:
        PortTaken: another program listens on one of the addresses.
        ServerError: the state or a file of the server is not as it should be.
    """
    with contextlib.ExitStack() as stack:
        public = stack.enter_context(listening(config.server.listen_at))
        ops = stack.enter_context(listening(config.server.ops_at))
        log_file = stack.enter_context(contextlib.closing(JsonLog(config.logs, "front")))
        log = log_file.logger()
        stack.enter_context(_forwarding(log))
        database = stack.enter_context(Database.open(config.database))
        record = record or _asked_recorder(log)
        server = assemble(config, database, log)
        app = front_app(server, control or (lambda: Control(config.superlink())), record=record)
        limits = config.limits
        front = _Server(app, config, public, Gate(limits.connections, limits.slow_seconds), server.watch.release_all)
        again(lambda: front.reload(log))
        ours = _Server(ops_app(config, database, METRICS), None, ops, Gate(_OPS_CONNECTIONS, limits.slow_seconds))
        await _together(front, ours, stop, log, ready)


async def _together(
    front: _Server, ops: _Server, stop: asyncio.Event, log: FilteringBoundLogger, ready: Callable[[], None]
) -> None:
    """Run both until ``stop`` is set or one of them ends."""
    servers = (front, ops)
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    stopped = asyncio.create_task(stop.wait())
    try:
        while not all(server.started for server in servers) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        if all(server.started for server in servers):
            log.info("front.ready", front=front.where, ops=ops.where)
            ready()
        await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        for server in servers:
            server.end()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        log.info("front.ended")
    for result in results:
        if isinstance(result, BaseException):
            raise result


class _Server(uvicorn.Server):
    """uvicorn, with a gate before it, its signals in our hands, and little patience for TLS that is never agreed.

    Args:
        app: what it serves.
        config: names certificate and key, and whether a proxy is before it; None for plain HTTP on loopback.
        listener: the socket.
        gate: of its connections.
        ending: is called as the end begins.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: ServerConfig | None,
        listener: socket.socket,
        gate: Gate,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        proxied = config is not None and config.server.behind_proxy
        super().__init__(
            uvicorn.Config(
                app,
                http=gate.protocol,  # type: ignore[arg-type]
                ws="none",
                loop="asyncio",
                lifespan="on",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=proxied,
                forwarded_allow_ips="127.0.0.1,::1",
                timeout_keep_alive=_KEPT_SECONDS,
                timeout_graceful_shutdown=_END_SECONDS,
                backlog=BACKLOG,
            )
        )
        self._files = None if config is None or proxied else (config.server.certificate, config.server.key)
        self._tls = None if self._files is None else tls(*self._files)
        self._listener = listener
        self._gate = gate
        self._ending = ending
        self._slow_seconds = 10.0 if config is None else config.limits.slow_seconds
        self.where = "{}:{}".format(*listener.getsockname()[:2])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise ServerError("the front could not begin: its log says why")
        server = await asyncio.get_running_loop().create_server(
            lambda: self._gate.protocol(self.config, self.server_state, self.lifespan.state),
            sock=self._listener,
            ssl=self._tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=None if self._tls is None else self._slow_seconds,
            ssl_shutdown_timeout=None if self._tls is None else self._slow_seconds,  # for the rest of an answer too
        )
        self.servers = [server]
        self.started = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until :meth:`end`."""
        async with self._gate.sweeping():
            await super().serve([self._listener])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, as uvicorn does, but wait for no connection on which nothing is answered."""
        draining = asyncio.create_task(self._gate.drain())
        try:
            await super().shutdown(sockets)
        finally:
            draining.cancel()
            self._gate.end_all()
            await asyncio.sleep(0)  # for the connections to close

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: there are two servers, and one who listens to signals."""
        yield

    def end(self) -> None:
        """Take no new connections, answer what has begun, and return from :meth:`serve`."""
        self.should_exit = True
        self._ending()

    def reload(self, log: FilteringBoundLogger) -> None:
        """Read certificate and key again; if they do not fit, those that are in use stay."""
        if self._tls is None or self._files is None:
            return
        try:
            tls(*self._files)  # a pair that does not fit must not touch the context in use
            self._tls.load_cert_chain(*map(str, self._files))
        except (ServerError, DataNotFound, OSError) as error:
            log.error("certificate.refused", problem=str(error))
        else:
            log.info("certificate.read")


def _asked_recorder(log: FilteringBoundLogger) -> Record | None:
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    log.warning("wire.recorded", file=name, words="ALL TRAFFIC IS RECORDED, tokens too: for demonstrations only")
    return recorder(Path(name))


class _Forwarded(logging.Handler):
    """Passes what uvicorn has to say on, as JSON; it names no address since there is no access log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._log.log(record.levelno, "uvicorn", problem=record.getMessage().strip(), exc_info=record.exc_info)


@contextlib.contextmanager
def _forwarding(log: FilteringBoundLogger) -> Iterator[None]:
    logger, handler = logging.getLogger("uvicorn.error"), _Forwarded(log)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _raise_limit() -> None:
    """Ask the system for as many descriptors as it grants: each connection is one."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
