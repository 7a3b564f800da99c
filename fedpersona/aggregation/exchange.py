"""Questions to devices over a Flower grid, and their answers: each counts once, and what does not has a reason.

A grid is the real one of a SuperLink, or one in this process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedpersona.aggregation.tally import Tally
from fedpersona.errors import ParcelRefused, ReplyUnsigned
from fedpersona.flower import parcel_from, records_from
from fedpersona.flower.unreadable import UNREADABLE
from fedpersona.wire.parcel import ASKS, REFUSALS, REPLIES, Parcel

__all__ = ["Exchanges", "Questions", "Take", "refusal_reason"]

_BATCH = 64  # replies taken at a time: so many updates are in memory at once
_SHORTEST_LOOK, _LONGEST_LOOK = 0.1, 1.0  # seconds between two looks for replies
_TIME_TO_LIVE = 60.0  # seconds that a question lives beyond its deadline
_LOG = logging.getLogger(__name__)

Take: TypeAlias = Callable[[int, Parcel, bytes], None]
"""Takes in one answer: of which node, what, and the key that it has to be signed with; raises ``ParcelRefused``."""


@dataclass(frozen=True)
class Questions:
    """Questions that are out, all of one kind."""

    kind: str
    nodes: Mapping[str, int]
    """Which message went to which device."""
    asked: tuple[int, ...]
    """All that should have got one."""
    failed: set[int]
    """Of them: those that could not be sent one, gave something else, or nothing until time was up."""


class Exchanges:
    """Asks devices, and takes in what they answer.

    Args:
        grid: Flower's way to the devices.
        enrolled: gives each device that may take part now: its Flower node id and its Ed25519 public key; asked
            again before every answer is counted, so that a revocation acts in the same round.
        seconds: how long a device has for an answer.
        linger: how long the late ones have, once the others suffice.
        rung: called whenever devices have something to pull.
    """

    def __init__(
        self,
        grid: Grid,
        enrolled: Callable[[], Mapping[int, bytes]],
        seconds: float,
        rung: Callable[[], object] = lambda: None,
        *,
        linger: float = float("inf"),
    ) -> None:
        self.tally = Tally()
        """Where is counted; the collector puts in a new one for every attempt."""
        self._grid = grid
        self._enrolled = enrolled
        self._seconds = seconds
        self._linger = linger
        self._rung = rung
        self._left_over: dict[str, float] = {}  # questions without an answer yet, and until when one may come

    def present(self) -> list[int]:
        """Return the enrolled devices that are there, by node id."""
        return sorted(set(self._enrolled()) & set(self._grid.get_node_ids()))

    def ask(self, kind: str, fields: Mapping[int, Mapping[str, bytes]]) -> Questions:
        """Send each device its question: the fields of a message of this kind, by node id."""
        shared: dict[int, RecordDict] = {}
        messages = []
        for node, content in fields.items():
            if id(content) not in shared:  # most messages have the same content: it is kept, and uploaded, once
                shared[id(content)] = records_from(kind, content, ASKS)
            messages.append(Message(shared[id(content)], node, kind, ttl=self._seconds + _TIME_TO_LIVE))
            self.tally.bytes_down += sum(map(len, content.values()))
        names = list(self._grid.push_messages(messages))
        self._rung()
        sent = {name: node for name, node in zip(names, fields, strict=True) if name}
        unsent = set(fields) - set(sent.values())
        if unsent:
            self.tally.refused["gone"] += len(unsent)
        return Questions(kind, sent, tuple(fields), unsent)

    def take_in(
        self,
        questions: Questions,
        take: Take,
        *,
        enough: Callable[[], bool] = lambda: False,
        settled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take in answers until everyone has answered, enough have, or time is up.

        Args:
            questions: what was asked.
            take: takes in one answer.
            enough: tells that there is room for no more.
            settled: tells that those that are there suffice: late ones are waited for a little only.
        """
        started = time.monotonic()
        deadline = started + self._seconds
        waiting = dict(questions.nodes)
        look = _SHORTEST_LOOK
        hurried = False
        while waiting and not enough() and time.monotonic() < deadline:
            arrived = self._look(questions, waiting, take, enough)
            if not hurried and settled():
                hurried = True
                # As long as those took that are there, if that is more: who is a little slower is not left behind.
                deadline = min(deadline, time.monotonic() + max(self._linger, time.monotonic() - started))
            look = _SHORTEST_LOOK if arrived else min(2 * look, _LONGEST_LOOK)
            if waiting and not enough():
                time.sleep(look)
        if waiting and not enough():
            self.tally.dropped += len(waiting)
            questions.failed.update(waiting.values())
        until = time.monotonic() + self._seconds + _TIME_TO_LIVE
        self._left_over |= dict.fromkeys(waiting, until)

    def discard_late(self) -> None:
        """Take what came too late off the grid, and forget it; what may still come is looked for again."""
        for batch in _batches(list(self._left_over)):
            for reply in self._grid.pull_messages(batch):
                if self._left_over.pop(reply.metadata.reply_to_message_id, None) is not None:
                    self.tally.late += not reply.has_error()
        now = time.monotonic()
        self._left_over = {name: until for name, until in self._left_over.items() if until > now}

    def forget_late(self) -> None:
        """Look for no late answers any more."""
        self._left_over.clear()

    def _look(self, questions: Questions, waiting: dict[str, int], take: Take, enough: Callable[[], bool]) -> bool:
        """Look once for what has arrived; tell whether anything has."""
        arrived = False
        for batch in _batches(list(waiting)):
            for reply in self._grid.pull_messages(batch):
                arrived = True
                question = reply.metadata.reply_to_message_id
                node = waiting.pop(question, None)
                if enough():
                    continue  # the ring has room for no more
                if node is None:
                    self.tally.refused["double" if question in questions.nodes else "stale"] += 1
                elif not self._taken(questions.kind, node, reply, take):
                    questions.failed.add(node)
            if enough():
                break
        return arrived

    def _taken(self, kind: str, node: int, reply: Message, take: Take) -> bool:
        """Tell whether one reply counts; say why where it does not."""
        reason = self._refusal(kind, node, reply, take)
        if reason:
            self.tally.refused[reason] += 1
        return not reason

    def _refusal(self, kind: str, node: int, reply: Message, take: Take) -> str:
        if reply.has_error():
            return refusal_reason(reply)
        if reply.metadata.src_node_id != node or reply.metadata.message_type != kind:
            return "stale"
        signer = self._enrolled().get(node)
        if signer is None:
            return "revoked"
        try:
            parcel = parcel_from(kind, reply.content, REPLIES)
            self.tally.bytes_up += sum(map(len, parcel.fields.values()))
            take(node, parcel, signer)
        except ParcelRefused as error:
            _LOG.warning("an answer was refused: %s", error)
            return "unsigned" if isinstance(error, ReplyUnsigned) else "shape"
        return ""


def refusal_reason(reply: Message) -> str:
    """Return why an error stands where an answer should be: one of ``journal.REASONS``."""
    error = reply.error
    if error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION and error.reason in REFUSALS:
        return str(error.reason)
    return "shape" if UNREADABLE in str(error.reason) else "gone"


def _batches(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + _BATCH] for start in range(0, len(names), _BATCH))
