"""Taking part in a federation: visits to its server, in the background, when the owner's conditions are met."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from fedpersona.device.background import Stop, Worker
from fedpersona.device.conditions import Conditions, current_probe
from fedpersona.errors import FedpersonaError, ServerUnreachable, ServerUntrusted, Stopped

if TYPE_CHECKING:
    from fedpersona.device.visit import Visited

__all__ = ["Membership"]

_LOOK = 30.0  # seconds between two looks at conditions that are not met
_NEXT_VISIT = 6 * 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 900.0  # seconds before a server that did not answer is tried again
_LONGEST_REFUSED = 3600.0  # seconds before one whose every plan was refused is visited again


class Membership:
    """One device's part in one federation. Made by :meth:`fedpersona.Device.join`; ends with :meth:`stop`.

    Nothing is ever raised from it: :attr:`state` says in words what it does, did, or could not do.

    Args:
        server: the normalised address.
        visit: makes one visit and returns what came of it.
        when: the owner's conditions, looked at before each visit.
    """

    def __init__(self, server: str, visit: Callable[[Stop], Visited], when: Conditions) -> None:
        self.server = server
        self._visit = visit
        self._when = when
        self._state = "starting"
        self._changed = threading.Condition()
        self._visits = 0
        self._missed = 0  # visits in a row that found nobody
        self._refused = 0  # visits in a row that came to nothing but a no
        self.rest: float | None = None
        """Seconds until the next visit, where the server has said when it would like one."""
        self._ended = False
        self._worker = Worker(self._run, f"fedpersona {server}", self._failed)

    def __repr__(self) -> str:
        return f"Membership({self.server}: {self.state})"

    @property
    def state(self) -> str:
        """What it is doing, or what the last visit came to."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether there may be another visit."""
        return self._worker.running

    def start(self) -> None:
        """Begin in the background."""
        self._worker.start()

    def wait(self, seconds: float) -> bool:
        """Wait at most so long for the first visit to end; tell whether one has.

        Returns at once where conditions are not met: there is nothing to wait for.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._visits or self._ended or self._state.startswith("waiting"), seconds)
            return self._visits > 0

    def stop(self, seconds: float = 1.0) -> bool:
        """End it, waiting at most so long; tell whether it has ended. What was queued is destroyed."""
        ended = self._worker.stop(seconds)
        self._end()
        return ended

    def _end(self) -> None:
        """Tell whoever waits that there will be no further visit; what the last one came to stays said."""
        with self._changed:
            self._ended = True
            if self._state in ("starting", "visiting"):
                self._state = "stopped"
            self._changed.notify_all()

    def _run(self, stop: Stop) -> None:
        while not stop.wished:
            unmet = self._when.unmet(current_probe().look())
            if unmet:
                self._say(f"waiting: {', '.join(unmet)}")
                stop.wait(_LOOK)
                continue
            self._say("visiting")
            self._say(self._outcome(stop), visited=True)
            stop.wait(self._pause() * random.uniform(0.8, 1.2))  # noqa: S311 - not all devices at once

    def _pause(self) -> float:
        """Return the seconds until the next visit: for ever again, each time later, where nobody answers.

        Also later each time where this device can only say no, whatever the server wishes: each no is an entry in
        the ledger, and a server must not be able to fill it.
        """
        if self._missed:
            return min(_FIRST_PAUSE * 2.0 ** (self._missed - 1), _LONGEST_PAUSE)
        rest = _NEXT_VISIT if self.rest is None else self.rest
        return max(rest, min(_FIRST_PAUSE * 2.0**self._refused, _LONGEST_REFUSED)) if self._refused else rest

    def _outcome(self, stop: Stop) -> str:
        missed, self._missed = self._missed, 0
        refused, self._refused = self._refused, min(self._refused + 1, 32)
        try:
            came = self._visit(stop)
            if not came.refused:
                self._refused = 0
            return came.words
        except Stopped:
            self._end()
            raise
        except ServerUntrusted as error:
            return f"failed: {error}"
        except ServerUnreachable as error:
            self._missed, self._refused = min(missed + 1, 32), refused
            return f"failed: {error}"
        except FedpersonaError as error:
            return f"failed: {error}"
        except Exception as error:  # one visit is lost, not the membership; its words could hold a history
            return f"failed: an error of our own ({type(error).__name__})"

    def _failed(self, error: BaseException) -> None:
        self._say(f"ended by an error of our own ({type(error).__name__})", visited=True)

    def _say(self, state: str, *, visited: bool = False) -> None:
        with self._changed:
            self._state = state
            self._visits += visited
            self._changed.notify_all()
