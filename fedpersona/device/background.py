"""Work in the background of an app: stopped in under a second, at low priority, and never raising into the app."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from fedpersona.errors import FedpersonaError, Stopped

__all__ = ["Stop", "Worker", "repeating"]

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
            raise Stopped("stopped by the app; nothing that was queued was sent")

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake at once when the app wishes to stop; tell whether it does."""
        return self._event.wait(seconds)


class Worker:
    """Runs one piece of work in a thread of its own, at low priority where the system has priorities for threads.

    Args:
        work: is called with a :class:`Stop`, and may return at any time.
        name: names the thread.
        failed: is called, in the thread, with what the work raised; by default it is logged in one line.
    """

    def __init__(
        self, work: Callable[[Stop], None], name: str, failed: Callable[[BaseException], None] | None = None
    ) -> None:
        self._work = work
        self._failed = failed
        self.stopping = Stop()
        self.error: BaseException | None = None
        """What the work ended with, None where it ended well or has not ended."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self, seconds: float = 1.0) -> bool:
        """Wish the work to stop and wait so long for it; tell whether it has ended."""
        self.stopping.set()
        return self.wait(seconds)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long for the work to end by itself; tell whether it has."""
        if self._thread.ident is None or self._thread is threading.current_thread():
            return self._thread.ident is None
        self._thread.join(seconds)
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
            self.error = error
            with suppress(Exception):
                (self._failed or _report)(error)


def repeating(work: Callable[[Stop], None], *, seconds: float, jitter: float = 0.1) -> Callable[[Stop], None]:
    """Return work that is done again and again, so many seconds apart, until it is stopped.

    An error of ours ends one turn, not the repetition; each in a row doubles the pause, up to eight times.
    """

    def again(stop: Stop) -> None:
        pause = seconds
        while True:
            try:
                work(stop)
                pause = seconds
            except Stopped:
                raise
            except FedpersonaError as error:
                _report(error)
                pause = min(pause * 2, seconds * 8)
            if stop.wait(pause * (1 + random.uniform(-jitter, jitter))):  # noqa: S311 - spreads load, hides nothing
                return

    return again


def _report(error: BaseException) -> None:
    _LOG.warning("background work ended: %s: %s", type(error).__name__, error)


def _lower_priority() -> None:
    """Yield to the app. On Linux a thread has a niceness of its own; elsewhere nothing is changed."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
