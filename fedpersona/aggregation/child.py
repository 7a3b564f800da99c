"""One process that a server keeps alive: started, noticed when it dies, started again, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from fedpersona.aggregation import tether
from fedpersona.aggregation.logs import OutputFile

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["Backoff", "Child", "end_all"]

_STEADY = 60.0  # seconds of life after which a death is counted anew
_PATIENCE = 10.0  # seconds from SIGTERM to SIGKILL


class Backoff:
    """How long to wait after each failure: doubling, up to a most.

    Args:
        first: seconds after the first.
        most: seconds, at most.
    """

    def __init__(self, first: float = 0.2, most: float = 30.0) -> None:
        self._first, self._most = first, most
        self.failures = 0

    def failed(self) -> float:
        """Count a failure; return the seconds to wait."""
        self.failures += 1
        return float(min(self._first * 2.0 ** min(self.failures - 1, 30), self._most))

    def reset(self) -> None:
        """All is well again."""
        self.failures = 0


class Child:
    """A process in a session of its own, tied to this one.

    A terminal's Ctrl-C does not reach it; it is ended by :func:`end_all`, or by the system when this process is
    killed.

    Args:
        name: of it, for people and for its output, ``<name>.log``.
        command: program and arguments.
        environment: all of it.
        logs: folder of its output.
        log: where births and deaths are told.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        logs: Path,
        log: FilteringBoundLogger,
    ) -> None:
        self.name = name
        self.output = OutputFile(logs, name)
        self.backoff = Backoff()
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it."""
        tied = [sys.executable, "-I", str(Path(tether.__file__)), str(os.getpid()), *self._command]
        descriptor = self.output.descriptor()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs, a list, no shell
                tied,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self._born = time.monotonic()
        self._log.info("child.started", child=self.name, pid=self._process.pid)

    def tend(self) -> None:
        """Notice a death, and start it again once its time has come."""
        now = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            self._buried(self._process.returncode, now)
        if self._process is None and now >= self._due:
            self.start()

    def _buried(self, code: int, now: float) -> None:
        lived = now - self._born
        if lived >= _STEADY:
            self.backoff.reset()
        wait = self.backoff.failed()
        self._due = now + wait
        self._process = None
        self._log.error("child.died", child=self.name, how=_how(code), lived=round(lived, 3), again_in=wait)

    def family(self) -> list[psutil.Process]:
        """Return the process and all that it started."""
        try:
            first = psutil.Process(self._process.pid) if self._process else None
            return [first, *first.children(recursive=True)] if first else []
        except psutil.NoSuchProcess:
            return []

    def ask_to_end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal that asks it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)

    def ended(self) -> bool:
        """Whether it is gone; its end is taken note of."""
        if self._process is not None and self._process.poll() is not None:
            self._log.info("child.ended", child=self.name, how=_how(self._process.returncode))
            self._process = None
        return self._process is None

    def kill(self) -> None:
        """Send SIGKILL, and wait for it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.ended()


def end_all(children: Sequence[Child], patience: float = _PATIENCE) -> None:
    """End children and all that they started: SIGTERM, and SIGKILL to what is there after ``patience`` seconds.

    After a quarter of them SIGINT comes in between: a SuperLink that waits for open connections takes it for "now".
    """
    families = [process for child in children for process in child.family()]
    for child in children:
        child.ask_to_end()
    until = time.monotonic() + patience
    waiting = _left(children, until - 0.75 * patience)
    for child in waiting:
        child.ask_to_end(signal.SIGINT)
    waiting = _left(waiting, until)
    for child in waiting:
        child.kill()
    _, left = psutil.wait_procs(families, timeout=max(0.0, min(1.0, until - time.monotonic())))
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _left(children: Sequence[Child], until: float) -> list[Child]:
    """Wait for children to end until a time of the steady clock; return those that have not."""
    waiting = [child for child in children if not child.ended()]
    while waiting and time.monotonic() < until:
        time.sleep(0.02)
        waiting = [child for child in waiting if not child.ended()]
    return waiting


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
