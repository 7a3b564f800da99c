"""Work in the background of an app: stopped in under a second, at low priority, and never raising into the app."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedpersona.errors import FedpersonaError, Stopped

__all__ = ["Stop", "Worker"]

_NICENESS = 10
_LOG = logging.getLogger(__name__)


class Stop:
    """The app's wish to stop, which work looks for between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Wish it. It cannot be taken back."""
        self._event.set()

    @property
    def wished(self) -> bool:
        """Whether the app wishes to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: the app wishes to stop.
        """
        if self._event.is_set():
            raise Stopped("stopped by the app; nothing more was sent")

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake at once when the app wishes to stop; tell whether it does."""
        return self._event.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))


class Worker:
    """Runs one piece of work in a thread of its own, at low priority where the system has priorities for threads.

    Priority is lowered on Linux, where each thread has a niceness; elsewhere it is left alone. The thread does not
    keep a program from ending: what it was doing is cut off then. A process that is forked off has no such thread;
    there the worker has ended, and does not start again.

    Args:
        work: is called with a :class:`Stop` and may return at any time. It should look at the wish several times a
            second: otherwise :meth:`stop` does not see it end.
        name: names the thread.
        failed: is called, in the thread, with what the work raised. By default one line is logged: with the words of
            fedpersona's own errors only, since those of others could name what the owner plays.
    """

    def __init__(
        self, work: Callable[[Stop], None], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> None:
        self._work = work
        self._failed = failed
        self._lock = threading.Lock()
        self.stopping = Stop()
        self.error: BaseException | None = None
        """What the work ended with, without its traceback, which would hold on to all the work had at hand; None
        where it ended well or has not ended."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def __repr__(self) -> str:
        return f"Worker({self._thread.name!r}, {'running' if self.running else 'not running'})"

    def start(self) -> None:
        """Begin; a second call does nothing, nor does one after :meth:`stop`."""
        with self._lock:
            if self._started or self.stopping.wished:
                return
            try:
                self._thread.start()
            except RuntimeError as error:  # no room for another thread, or the program is ending
                self._end_with(error)
            else:
                self._started = True

    def stop(self, seconds: float = 1.0) -> bool:
        """Wish the work to stop and wait so long for it; tell whether it has ended."""
        self.stopping.set()
        return self.wait(seconds)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long for the work to end by itself; tell whether it has, or never began.

        Work that waits for itself is told at once that it has not ended.
        """
        with self._lock:
            started = self._started
        if started and self._thread is not threading.current_thread():
            self._thread.join(None if seconds is None else min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        """Whether the work is under way."""
        return self._thread.is_alive()

    def _run(self) -> None:
        _lower_priority()
        try:
            self._work(self.stopping)
        except Stopped:
            pass
        except BaseException as error:  # nothing may reach the app's own threads
            self._end_with(error)

    def _end_with(self, error: BaseException) -> None:
        self.error = error
        with suppress(BaseException):
            (self._failed or _report)(error)
        _let_go(error)


def _report(error: BaseException) -> None:
    """Log an error in one line. Only the words of our own errors are known to tell nothing of a history."""
    words = f": {error}" if isinstance(error, FedpersonaError) else _place(error)
    _LOG.warning("background work: %s%s", type(error).__name__, words)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def _let_go(error: BaseException | None) -> None:
    """Take the tracebacks off an error and those it came from: their frames hold what the work had at hand."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _lower_priority() -> None:
    """Yield to the app. On Linux a thread has a niceness of its own; elsewhere nothing is changed."""
    if sys.platform == "linux":
        with suppress(OSError):
            thread = threading.get_native_id()
            if os.getpriority(os.PRIO_PROCESS, thread) < _NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, _NICENESS)
