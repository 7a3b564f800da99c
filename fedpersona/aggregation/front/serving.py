"""The front as a process: two addresses, one event loop, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from fedpersona.aggregation.config import Endpoint, ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front.app import METRICS, assemble, front_app
from fedpersona.aggregation.front.connections import Gate
from fedpersona.aggregation.front.recording import VARIABLE, Record, recorder
from fedpersona.aggregation.logs import JsonLog
from fedpersona.aggregation.ops.app import ops_app
from fedpersona.aggregation.superlink import Control
from fedpersona.errors import ConfigError, DataNotFound, PortTaken, ServerError

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.front.enrolment import Control as Registers

__all__ = ["listening", "serve"]

_BACKLOG = 1024
_KEPT_SECONDS = 75  # a connection that waits for its next request
_END_SECONDS = 2  # for answers that have begun
_OPS_CONNECTIONS = 64
_FILES = 65_536  # descriptors that are asked for; as many as the system grants are used


def serve(
    config: ServerConfig,
    *,
    control: Callable[[], AbstractContextManager[Registers]] | None = None,
    record: Record | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: of the server.
        control: opens Flower's Control API; by default that of the configured SuperLink.
        record: see :mod:`fedpersona.aggregation.front.recording`; by default what its variable says.
        ready: is called once both addresses are listened on.

    Raises:
        PortTaken: another program listens on one of the addresses.
        ServerError: the state or a file of the server is not as it should be.
    """
    _raise_limit()
    log_file = JsonLog(config.logs, "front")
    try:
        with Database.open(config.database) as database, _sockets(config) as (public, ops):
            log = log_file.logger()
            record = record or _asked_recorder(log)
            server = assemble(config, database, log)
            front = front_app(server, control or (lambda: Control(config.superlink())), record=record)
            with _forwarding(log):
                gate = Gate(config.limits.connections, config.limits.slow_seconds)
                first = _Server(front, config, public, gate, server.watch.release_all)
                second = _Server(
                    ops_app(config, database, METRICS), None, ops, Gate(_OPS_CONNECTIONS, config.limits.slow_seconds)
                )
                asyncio.run(_run(first, second, log, ready))
    finally:
        log_file.close()


async def _run(front: _Server, ops: _Server, log: FilteringBoundLogger, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    servers = (front, ops)

    def end() -> None:
        for server in servers:
            server.end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(signal.SIGHUP, front.reload, log)
    tasks = [asyncio.create_task(server.serve()) for server in servers]
    try:
        while not all(server.started for server in servers) and not any(task.done() for task in tasks):
            await asyncio.sleep(0.01)
        if all(server.started for server in servers):
            log.info("front.ready", front=front.where, ops=ops.where)
            ready()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        end()
        await asyncio.gather(*tasks)
        log.info("front.ended")


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
                backlog=_BACKLOG,
            )
        )
        self._files = None if config is None or proxied else (config.server.certificate, config.server.key)
        self._tls = None if self._files is None else _tls(*self._files)
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
        patience = (
            {} if self._tls is None else {"ssl_handshake_timeout": self._slow_seconds, "ssl_shutdown_timeout": 2.0}
        )
        listening = await asyncio.get_running_loop().create_server(
            lambda: self._gate.protocol(self.config, self.server_state, self.lifespan.state),
            sock=self._listener,
            ssl=self._tls,
            backlog=_BACKLOG,
            **patience,
        )
        self.servers = [listening]
        self.started = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until :meth:`end`."""
        async with self._gate.sweeping():
            await super().serve([self._listener])

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
            _tls(*self._files)  # a pair that does not fit must not touch the context in use
            self._tls.load_cert_chain(*map(str, self._files))
        except (ServerError, DataNotFound, OSError) as error:
            log.error("certificate.refused", problem=str(error))
        else:
            log.info("certificate.read")


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    if certificate is None or key is None:
        raise ServerError("[server] has no certificate and key: make them with 'fedpersona serve init'")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except FileNotFoundError:
        raise DataNotFound("the certificate or its key is not there: see [server]", path=certificate) from None
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise ServerError(f"{certificate}: certificate and key cannot be used ({reason}): see [server]") from None
    return context


@contextlib.contextmanager
def _sockets(config: ServerConfig) -> Iterator[tuple[socket.socket, socket.socket]]:
    with listening(config.server.listen_at) as public, listening(config.server.ops_at) as ops:
        yield public, ops


def listening(endpoint: Endpoint) -> socket.socket:
    """Return a socket that is bound there, the first that the host's name stands for.

    Raises:
        PortTaken: another program listens there.
        ConfigError: it is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"{endpoint}: this host is unknown: name one of this machine") from None
    bound = socket.socket(family, kind)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"{endpoint}: another program listens there: end it, or choose another port in server.toml"
            ) from None
        raise ConfigError(f"{endpoint}: cannot be listened on ({error.strerror}): choose another") from None
    bound.setblocking(False)
    return bound


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
