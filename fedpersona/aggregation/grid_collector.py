"""Collecting the sum of a round over a Flower grid: the real one of a SuperLink, or one in this process.

Under masks a round has two exchanges. First every device that was asked enters with a key, and the roster is closed;
then each masks its update with the keys of its neighbours, and the sum of all is readable. A device that left in
between leaves its masks in the sum, so the round is begun again with those that are there.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedpersona.aggregation.sampling import sample_cohort
from fedpersona.aggregation.tally import Tally
from fedpersona.errors import (
    CohortTooSmall,
    DevicesLeft,
    LayoutMismatch,
    ParcelRefused,
    PlanRefused,
    ReplyUnsigned,
)
from fedpersona.flower import parcel_from, records_from
from fedpersona.flower.unreadable import UNREADABLE
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.masking import LEAST_NEIGHBOURS, MaskKey, circle
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, decode, word_type
from fedpersona.wire.parcel import ASKS, REFUSALS, REPLIES, Parcel, verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import seal_plan
from fedpersona.wire.update import Update

__all__ = ["GridCollector", "Pace"]

_BATCH = 64  # replies taken at a time: so many updates are in memory at once
_SHORTEST_LOOK, _LONGEST_LOOK = 0.1, 1.0  # seconds between two looks for replies
_TIME_TO_LIVE = 60.0  # seconds that a question lives beyond its deadline
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How long a round waits, and for how many."""

    wait_for: int = 1
    """Fewest devices present before a round begins."""
    gather_seconds: float = 600.0
    deadline_seconds: float = 600.0
    """For each exchange."""
    over_sampling: float = 0.2
    """Share of devices asked beyond the cohort, where more than the cohort are there."""


class GridCollector:
    """Brings in the sum over devices that are reached through a grid.

    Args:
        grid: Flower's way to the devices.
        model: the taste model, for its layouts.
        layout: gives the layout of a round.
        key: the operator's signing key.
        enrolled: gives each device that may take part now: its Flower node id and its Ed25519 public key; asked
            again before every answer is counted, so that a revocation acts in the same round.
        pace: how long to wait.
        model_bytes: packs the shared model to be sent inside the message; None where devices fetch it by its hash.
        rung: called whenever devices have something to pull.
        told: called with the name of each stage as it begins.
    """

    def __init__(
        self,
        grid: Grid,
        model: TasteModel,
        layout: Callable[[int], Layout],
        *,
        key: Ed25519PrivateKey,
        enrolled: Callable[[], Mapping[int, bytes]],
        pace: Pace,
        model_bytes: Callable[[Shared], bytes] | None = None,
        rung: Callable[[], None] = lambda: None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.grid = grid
        self.model = model
        self.layout = layout
        self.pace = pace
        self.tally = Tally()
        """Of the last attempt."""
        self._key = key
        self._enrolled = enrolled
        self._model_bytes = model_bytes
        self._rung = rung
        self._told = told
        self._left_over: dict[str, float] = {}  # questions without an answer yet, and until when one may come
        self._faults: Counter[int] = Counter()
        self._sits_out: dict[int, int] = {}  # attempts that a device is still left out of

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Ask the devices that are there, and return the sum over those that answered.

        Raises:
            CohortTooSmall: too few are there, entered, or answered; nothing is released.
            DevicesLeft: devices of a closed roster did not answer; nothing is released.
        """
        self.tally = Tally()
        self._discard_late()
        with self._stage("gathering"):
            asked = self._gather(plan)
        fixed_point = FixedPoint(self.layout(plan.round_number), plan.cohort, plan.ring_bits)
        fields = {"plan": seal_plan(plan, self._key)}
        if self._model_bytes is not None:
            fields["model"] = self._model_bytes(shared)
        if not plan.masked:
            with self._stage("updating"):
                exchange = self._send("train.plain", dict.fromkeys(asked, fields))
                self.tally.entered = len(asked)
                return self._sum(plan, exchange, fixed_point)
        with self._stage("entering"):
            roster = self._enter(plan, self._send("query.enter", dict.fromkeys(asked, fields)))
        with self._stage("updating"):
            neighbours = circle(roster.values())
            exchange = self._send(
                "train.update",
                {
                    node: {"plan_hash": plan.hash().encode(), "neighbours": b"".join(neighbours[key])}
                    for node, key in roster.items()
                },
            )
            return self._sum(plan, exchange, fixed_point)

    # -- stages --

    def _stage(self, name: str) -> AbstractContextManager[None]:
        self._told(name)
        return self.tally.stage(name)

    def _gather(self, plan: Plan) -> list[int]:
        """Wait until enough enrolled devices are there, and choose whom to ask."""
        deadline = time.monotonic() + self.pace.gather_seconds
        wanted = max(self.pace.wait_for, plan.min_count)
        while True:
            present = sorted(set(self._enrolled()) & set(self.grid.get_node_ids()))
            self.tally.present = len(present)
            if len(present) >= wanted:
                break
            if time.monotonic() > deadline:
                raise CohortTooSmall(plan.round_number, len(present), wanted)
            time.sleep(_LONGEST_LOOK)
        present = self._without_spoilers(present, wanted)
        most = ceil(plan.cohort * (1 + self.pace.over_sampling))
        # A node id is a random number of 64 bits that Flower chose; its place in the list is as random.
        chosen = sample_cohort(plan, np.arange(len(present)), most)
        self.tally.asked = len(chosen)
        return [present[place] for place in chosen]

    def _without_spoilers(self, present: list[int], wanted: int) -> list[int]:
        """Leave out the devices that spoilt one sum after another, where enough others are there."""
        others = [node for node in present if node not in self._sits_out]
        self._sits_out = {node: left - 1 for node, left in self._sits_out.items() if left > 1}
        return others if len(others) >= wanted else present

    def _blame(self, roster: Iterable[int], failed: set[int]) -> None:
        """Note which devices of a closed roster failed it.

        Once is bad luck. From the second time on a device is left out of 1, 3, 7, … attempts: otherwise a single one
        that enters and never answers would end every attempt at every round.
        """
        for node in roster:
            self._faults[node] = self._faults[node] + 1 if node in failed else max(0, self._faults[node] - 1)
            if node in failed and self._faults[node] > 1:
                self._sits_out[node] = 2 ** min(self._faults[node] - 1, 10) - 1

    def _enter(self, plan: Plan, exchange: _Exchange) -> dict[int, bytes]:
        """Take in the keys of those that enter, until all answered, the cohort is full or time is up."""
        digest = plan.hash()
        roster: dict[int, bytes] = {}
        probe, effects = MaskKey(), set[bytes]()

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            key = parcel["key"]
            verify_reply(parcel.kind, digest, key, parcel["signature"], signer)
            try:
                effect = probe.effect(key)
            except PlanRefused:
                raise ParcelRefused("a key that nobody could mask with") from None
            if effect in effects:
                raise ParcelRefused("a key that another device entered with")
            effects.add(effect)
            roster[node] = key

        self._exchange(exchange, take, enough=lambda: len(roster) >= plan.cohort)
        self.tally.entered = len(roster)
        least = max(plan.min_count, LEAST_NEIGHBOURS + 1)
        if len(roster) < least:
            raise CohortTooSmall(plan.round_number, len(roster), least)
        return roster

    def _sum(self, plan: Plan, exchange: _Exchange, fixed_point: FixedPoint) -> tuple[Update, int]:
        """Add up the updates as they come."""
        digest = plan.hash()
        total: Words = np.zeros(fixed_point.layout.size, word_type(plan.ring_bits))

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            message = parcel["update"]
            verify_reply(parcel.kind, digest, message, parcel["signature"], signer)
            try:
                words = decode(message, plan_hash=digest, layout=fixed_point.layout, ring_bits=plan.ring_bits)
            except LayoutMismatch:
                raise ParcelRefused("an update of another form, or for another round") from None
            np.add(total, words, out=total)
            self.tally.answered += 1
            self.tally.bytes_up += len(message)

        failed = exchange.failed

        def over() -> bool:  # under masks one that says no spoils the sum: the round is begun again at once
            return self.tally.answered >= plan.cohort or (plan.masked and bool(failed))

        self._exchange(exchange, take, enough=over)
        count, asked = self.tally.answered, len(exchange.asked)
        if plan.masked:
            self._blame(exchange.asked, failed)
            if count < asked:  # all that others masked with, also one that could not even be sent its question
                raise DevicesLeft(plan.round_number, asked - count, asked)
        if count < plan.min_count:
            raise CohortTooSmall(plan.round_number, count, plan.min_count)
        return fixed_point.decode_words(total), count

    # -- exchanges --

    def _send(self, kind: str, fields: Mapping[int, Mapping[str, bytes]]) -> _Exchange:
        shared: dict[int, RecordDict] = {}
        messages = []
        for node, content in fields.items():
            if id(content) not in shared:  # most messages have the same content: it is kept, and uploaded, once
                shared[id(content)] = records_from(kind, content, ASKS)
            messages.append(Message(shared[id(content)], node, kind, ttl=self.pace.deadline_seconds + _TIME_TO_LIVE))
            self.tally.bytes_down += sum(map(len, content.values()))
        names = list(self.grid.push_messages(messages))
        self._rung()
        sent = {name: node for name, node in zip(names, fields, strict=True) if name}
        unsent = set(fields) - set(sent.values())
        if unsent:
            self.tally.refused["gone"] += len(unsent)
        return _Exchange(kind, sent, tuple(fields), unsent)

    def _exchange(self, exchange: _Exchange, take: _Take, *, enough: Callable[[], bool]) -> None:
        """Take in replies until everyone answered, enough did, or time is up. Each device counts once."""
        deadline = time.monotonic() + self.pace.deadline_seconds
        waiting = dict(exchange.nodes)
        look = _SHORTEST_LOOK
        while waiting and not enough() and time.monotonic() < deadline:
            arrived = False
            for batch in _batches(list(waiting)):
                for reply in self.grid.pull_messages(batch):
                    arrived = True
                    question = reply.metadata.reply_to_message_id
                    node = waiting.pop(question, None)
                    if enough():
                        continue  # the ring has room for no more
                    if node is None:
                        self.tally.refused["double" if question in exchange.nodes else "stale"] += 1
                    elif not self._taken(exchange.kind, node, reply, take):
                        exchange.failed.add(node)
                if enough():
                    break
            look = _SHORTEST_LOOK if arrived else min(2 * look, _LONGEST_LOOK)
            if waiting and not enough():
                time.sleep(look)
        if waiting and not enough():
            self.tally.dropped += len(waiting)
            exchange.failed.update(waiting.values())
        until = time.monotonic() + self.pace.deadline_seconds + _TIME_TO_LIVE
        self._left_over |= dict.fromkeys(waiting, until)

    def _taken(self, kind: str, node: int, reply: Message, take: _Take) -> bool:
        """Tell whether one reply counts; say why where it does not."""
        reason = self._refusal(kind, node, reply, take)
        if reason:
            self.tally.refused[reason] += 1
        return not reason

    def _refusal(self, kind: str, node: int, reply: Message, take: _Take) -> str:
        if reply.has_error():
            return _reason(reply)
        if reply.metadata.src_node_id != node or reply.metadata.message_type != kind:
            return "stale"
        signer = self._enrolled().get(node)
        if signer is None:
            return "revoked"
        try:
            take(node, parcel_from(kind, reply.content, REPLIES), signer)
        except ParcelRefused as error:
            _LOG.warning("an answer was refused: %s", error)
            return "unsigned" if isinstance(error, ReplyUnsigned) else "shape"
        return ""

    def _discard_late(self) -> None:
        """Take what came too late off the grid, and forget it; what may still come is looked for again."""
        for batch in _batches(list(self._left_over)):
            for reply in self.grid.pull_messages(batch):
                if self._left_over.pop(reply.metadata.reply_to_message_id, None) is not None:
                    self.tally.late += not reply.has_error()
        now = time.monotonic()
        self._left_over = {name: until for name, until in self._left_over.items() if until > now}


_Take: TypeAlias = Callable[[int, Parcel, bytes], None]
"""Takes in one answer: of which node, what, and the key that it has to be signed with."""


@dataclass(frozen=True)
class _Exchange:
    """Questions that are out."""

    kind: str
    nodes: Mapping[str, int]
    """Which message went to which device."""
    asked: tuple[int, ...]
    """All that should have got one."""
    failed: set[int]
    """Of them: those that could not be sent one, gave something else, or nothing until time was up."""


def _reason(reply: Message) -> str:
    error = reply.error
    if error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION and error.reason in REFUSALS:
        return str(error.reason)
    return "shape" if UNREADABLE in str(error.reason) else "gone"


def _batches(names: list[str]) -> Iterable[list[str]]:
    return (names[start : start + _BATCH] for start in range(0, len(names), _BATCH))
