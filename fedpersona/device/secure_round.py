"""A device's part in one secure sum, over a link: the steps of :class:`~fedpersona.privacy.secagg.DeviceRound`.

Between two steps it waits for the server, and looks for its owner's no whenever the link returns: several times a
second, or over a network as often as the link's patience says. Before each answer it looks once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from fedpersona.device.link import Link
from fedpersona.errors import PlanRefused, RoundClosed
from fedpersona.privacy.secagg import DeviceRound
from fedpersona.wire.message import Words
from fedpersona.wire.plan import Plan

__all__ = ["SecureRound"]

_POLL = 0.2  # seconds between two looks at whether to stop
_LONGEST_WAIT = 900.0  # seconds for one message; a round that ended, or its plan's time, ends it before


class SecureRound:
    """Takes part in one secure sum. Whoever makes one erases it, whatever happens: its secrets end with the round.

    Args:
        link: the way to the server.
        plan: the round.
        may_go_on: raises where the owner or the app says no.
        pause: waits so many seconds, or until the app wishes to stop.
        least_neighbours: fewest others to mask with, or all of a smaller roster.
    """

    def __init__(
        self,
        link: Link,
        plan: Plan,
        may_go_on: Callable[[], None],
        pause: Callable[[float], object],
        *,
        least_neighbours: int = 0,
    ) -> None:
        self._link = link
        self._digest = plan.hash()
        self._may_go_on = may_go_on
        self._pause = pause
        self._round = DeviceRound.for_plan(plan, link.identity, least_neighbours=least_neighbours)

    def mask(self, words: Words) -> None:
        """Enter the round, share the secrets, and mask the update in place.

        Raises:
            PlanRefused: the server's roster or what else it sent is not what it should be. Words may be masked or not.
            RoundClosed: the server gave the round up, or went on without this device.
        """
        self._may_go_on()
        self._answer("query.enter", self._round.advertise())
        shown = self._asked("query.share")
        self._answer("query.share", self._round.share(shown["roster"], shown["view"]))
        self._round.mask(words, self._asked("train.update")["shares"])

    def finish(self) -> None:
        """Help to open the sum, once the masked update was handed over.

        A server that goes on without this device has what it needs from others: that is no fault.

        Raises:
            PlanRefused: what the server says of the sum does not fit; it gets no help with it.
        """
        try:
            survivors = self._asked("query.agree")["survivors"]
            self._answer("query.agree", self._round.agree(survivors))
            signatures = self._asked("query.unmask")["signatures"]
            self._answer("query.unmask", self._round.unmask(signatures))
        except RoundClosed:
            return

    def erase(self) -> None:
        """Forget every secret of the round."""
        self._round.erase()

    def _answer(self, kind: str, body: bytes) -> None:
        """Hand an answer over, unless the owner or the app said no while it was computed."""
        self._may_go_on()
        self._link.answer(kind, self._digest, body)

    def _asked(self, kind: str) -> Mapping[str, bytes]:
        """Wait for a message, looking for a no each time the link returns without one."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < deadline:
            started = time.monotonic()
            fields = self._link.question(kind, self._digest, _POLL)
            self._may_go_on()
            if fields is not None:
                return _checked(fields)
            self._pause(max(0.0, started + _POLL - time.monotonic()))
        raise RoundClosed("the server kept this device waiting for too long")


def _checked(fields: object) -> Mapping[str, bytes]:
    if isinstance(fields, Mapping) and all(isinstance(value, bytes) for value in fields.values()):
        return fields
    raise PlanRefused("the server's message does not consist of bytes")
