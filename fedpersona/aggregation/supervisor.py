"""What ``fedpersona serve`` is: a SuperLink and a front, kept alive, and runs started when they are due."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from fedpersona.aggregation.bundle import server_bundle
from fedpersona.aggregation.certificates import authority_der, operator_public, signing_key
from fedpersona.aggregation.child import Child, end_all
from fedpersona.aggregation.config import Endpoint, ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.erasure import erase_messages
from fedpersona.aggregation.logs import JsonLog
from fedpersona.aggregation.ports import answers, check_free
from fedpersona.aggregation.schedule_loop import ScheduleLoop
from fedpersona.aggregation.spending import check_budget
from fedpersona.aggregation.state_lock import held
from fedpersona.aggregation.superlink import QUIET, Control
from fedpersona.errors import DataError, DataNotFound, ServerError, UnsafeServer
from fedpersona.wire.signed_catalogue import unseal

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["Part", "Supervisor", "check_files", "serve"]

_TICK = 0.1  # seconds between two looks at the children
_START = 90.0  # seconds that all parts have to answer for the first time
_DEATHS = 4  # of one child while starting: it will not come


@dataclass(frozen=True)
class Part:
    """A child, and where it answers once it is there."""

    child: Child
    answers_at: tuple[Endpoint, ...] = ()

    def ready(self) -> bool:
        """Whether it lives and answers everywhere."""
        return self.child.pid is not None and all(answers(endpoint) for endpoint in self.answers_at)


class Supervisor:
    """Keeps the parts of a server alive until it is told to stop.

    Args:
        parts: what to keep alive.
        log: where it is told.
        beside: runs in a thread of its own from the moment all parts answer until the event is set.
        patience: seconds between SIGTERM and SIGKILL at the end.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        log: FilteringBoundLogger,
        beside: Callable[[Event], None] | None = None,
        patience: float = 10.0,
    ) -> None:
        self._parts = list(parts)
        self._log = log
        self._beside = beside
        self._patience = patience
        self._stop = False
        self._beside_stops = Event()

    def stop(self, *_: object) -> None:
        """Ask it to stop; safe to call from a signal handler."""
        self._stop = True

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start all parts, tend them until asked to stop, and end them.

        Args:
            on_ready: called once, when all parts answer.

        Raises:
            ServerError: a part does not start; the others were ended.
        """
        try:
            self._start()
            if not self._stop:
                on_ready()
                self._log.info("server.ready", parts=[part.child.name for part in self._parts])
                self._tend()
        finally:
            self._log.info("server.stopping")
            end_all([part.child for part in self._parts], self._patience)
            self._log.info("server.stopped")

    def _start(self) -> None:
        until = time.monotonic() + _START
        for part in self._parts:
            part.child.start()
        waiting = list(self._parts)
        while waiting and not self._stop:
            for part in self._parts:
                part.child.tend()
                if part.child.backoff.failures >= _DEATHS:
                    raise ServerError(f"the {part.child.name} does not start: see {part.child.output.path}")
            waiting = [part for part in waiting if not part.ready()]
            if waiting and time.monotonic() > until:
                child = waiting[0].child
                raise ServerError(f"the {child.name} did not answer within {_START:.0f} s: see {child.output.path}")
            time.sleep(_TICK)

    def _tend(self) -> None:
        thread = None
        if self._beside is not None:
            thread = Thread(target=self._beside, args=(self._beside_stops,), name="schedule", daemon=True)
            thread.start()
        try:
            while not self._stop:
                for part in self._parts:
                    part.child.tend()
                time.sleep(_TICK)
        finally:
            self._beside_stops.set()
            if thread is not None:
                thread.join(timeout=self._patience)


def serve(config: ServerConfig, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP lets the front read its certificate and key again.

    Args:
        config: the server's.
        on_ready: called once, when all parts answer.

    Raises:
        ServerError: (``ServerRunning``, ``PortTaken``, ``StateDamaged``, ``UnsafeServer``) it cannot start.
        ConfigError: the section ``privacy`` and the account of the budget do not go together.
        DataError: a certificate, key or catalogue is not what it should be.
    """
    check_files(config)
    with ExitStack() as stack:
        stack.enter_context(held(config.server.state, wait=1.0))
        superlink = config.superlink()
        link_at = Endpoint(superlink.address)
        for endpoint in (config.server.listen_at, config.server.ops_at, link_at):
            check_free(endpoint)
        superlink.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        erase_messages(superlink.database)  # a kill may have left some
        stack.callback(erase_messages, superlink.database)
        database = stack.enter_context(Database.open(config.database))
        check_budget(config, database, signing_key(config.server.signing_key))
        journal = JsonLog(config.logs, "supervisor")
        stack.callback(journal.close)
        os.environ.update(QUIET)  # before anything imports Flower
        control = stack.enter_context(Control(superlink))
        log = journal.logger()
        loop = ScheduleLoop(config, database, control, server_bundle, log)
        link = Child("superlink", superlink.command(), superlink.environment(), config.logs, log)
        front = Child("front", _front(config), {**os.environ}, config.logs, log)
        parts = (Part(link, (link_at,)), Part(front, (config.server.listen_at, config.server.ops_at)))
        supervisor = Supervisor(parts, log, loop.run)

        def renew(*_: object) -> None:
            if front.pid is not None:
                os.kill(front.pid, signal.SIGHUP)

        with _signals(supervisor.stop, renew):
            supervisor.run(on_ready)


def check_files(config: ServerConfig) -> None:
    """Check that every key, certificate and the catalogue are there, fit each other, and are not open to all.

    Raises:
        DataError: one is missing or not what it should be.
        UnsafeServer: any user of this machine can read a private key.
    """
    server = config.server
    if server.certificate is not None and server.key is not None:
        _check_pair(server.certificate, server.key)
    _check_pair(server.superlink_certificate, server.superlink_key)
    for authority in filter(None, (server.authority, server.superlink_authority)):
        _there(authority)
        authority_der(authority)
    public = operator_public(server.signing_key)
    _check_private(server.signing_key)
    _there(config.model.catalogue)
    try:
        unseal(config.model.catalogue.read_bytes(), [public])
    except DataError as error:
        raise DataError(f"is not what devices would accept: {error}", path=config.model.catalogue) from None


def _check_pair(certificate: Path, key: Path) -> None:
    _there(certificate)
    _there(key)
    _check_private(key)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=b"")
    except (OSError, ValueError):  # SSLError is an OSError
        raise DataError(
            f"is no certificate that the key {key} fits: restore both from your copy", path=certificate
        ) from None


def _check_private(key: Path) -> None:
    if key.stat().st_mode & 0o007:
        raise UnsafeServer(f"{key}: every user of this machine can read this private key: 'chmod 600' it")


def _there(path: Path) -> None:
    if not path.is_file():
        raise DataNotFound("is missing: restore it from your copy, or mend the path in server.toml", path=path)


def _front(config: ServerConfig) -> list[str]:
    return [sys.executable, "-m", "fedpersona.aggregation.front", str(config.file)]


@contextmanager
def _signals(stop: Callable[..., object], renew: Callable[..., object]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call ``stop`` instead of interrupting, and SIGHUP ``renew``, which reads certificates."""
    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: renew}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
