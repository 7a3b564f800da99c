"""Collecting the sum of a round over a Flower grid: the real one of a SuperLink, or one in this process.

Under masks a round has two exchanges. First every device that was asked enters with a key, and the roster is closed;
then each masks its update with the keys of its neighbours, and the sum of all is readable. A device that left in
between leaves its masks in the sum, so the round is begun again with those that are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.serverapp import Grid

from fedpersona.aggregation.exchange import Exchanges, Questions
from fedpersona.aggregation.sampling import sample_cohort
from fedpersona.aggregation.spoilers import Spoilers
from fedpersona.aggregation.tally import Tally
from fedpersona.errors import (
    CohortTooSmall,
    DevicesAbsent,
    DevicesLeft,
    LayoutMismatch,
    ParcelRefused,
    PlanRefused,
)
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.masking import LEAST_NEIGHBOURS, MaskKey, circle
from fedpersona.taste.model import Shared
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, decode, word_type
from fedpersona.wire.parcel import Parcel, verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import seal_plan
from fedpersona.wire.update import Update

__all__ = ["GridCollector", "Pace"]

_LOOK = 1.0  # seconds between two looks at who is there


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
        layout: gives the layout of a round.
        key: the operator's signing key.
        enrolled: gives each device that may take part now: its Flower node id and its Ed25519 public key.
        pace: how long to wait.
        model_bytes: packs the shared model to be sent inside the message; None where devices fetch it by its hash.
        rung: called whenever devices have something to pull.
        told: called with the name of each stage as it begins.
    """

    def __init__(
        self,
        grid: Grid,
        layout: Callable[[int], Layout],
        *,
        key: Ed25519PrivateKey,
        enrolled: Callable[[], Mapping[int, bytes]],
        pace: Pace,
        model_bytes: Callable[[Shared], bytes] | None = None,
        rung: Callable[[], object] = lambda: None,
        told: Callable[[str], None] = lambda stage: None,
    ) -> None:
        self.layout = layout
        self.pace = pace
        self.tally = Tally()
        """Of the last attempt."""
        self._key = key
        self._model_bytes = model_bytes
        self._told = told
        self._exchanges = Exchanges(grid, enrolled, pace.deadline_seconds, rung)
        self._spoilers = Spoilers()

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Ask the devices that are there, and return the sum over those that answered.

        Raises:
            DevicesAbsent: too few are there; nobody was asked.
            CohortTooSmall: too few entered, or answered; nothing is released.
            DevicesLeft: devices of a closed roster did not answer; nothing is released.
        """
        self.tally = self._exchanges.tally = Tally()
        self._exchanges.discard_late()
        with self._stage("gathering"):
            asked = self._gather(plan)
        fixed_point = FixedPoint(self.layout(plan.round_number), plan.cohort, plan.ring_bits)
        fields = {"plan": seal_plan(plan, self._key)}
        if self._model_bytes is not None:
            fields["model"] = self._model_bytes(shared)
        if not plan.masked:
            with self._stage("updating"):
                self.tally.entered = len(asked)
                return self._sum(plan, self._exchanges.ask("train.plain", dict.fromkeys(asked, fields)), fixed_point)
        with self._stage("entering"):
            roster = self._enter(plan, self._exchanges.ask("query.enter", dict.fromkeys(asked, fields)))
        with self._stage("updating"):
            neighbours, digest = circle(roster.values()), plan.hash().encode()
            lists = {
                node: {"plan_hash": digest, "neighbours": b"".join(neighbours[key])} for node, key in roster.items()
            }
            return self._sum(plan, self._exchanges.ask("train.update", lists), fixed_point)

    def _stage(self, name: str) -> AbstractContextManager[None]:
        self._told(name)
        return self.tally.stage(name)

    def _gather(self, plan: Plan) -> list[int]:
        """Wait until enough enrolled devices are there, and choose whom to ask."""
        deadline = time.monotonic() + self.pace.gather_seconds
        wanted = max(self.pace.wait_for, plan.min_count)
        while len(present := self._exchanges.present()) < wanted:
            if time.monotonic() > deadline:
                self.tally.present = len(present)
                raise DevicesAbsent(plan.round_number, len(present), wanted)
            time.sleep(_LOOK)
        self.tally.present = len(present)
        able = self._spoilers.without(present, wanted)
        most = ceil(plan.cohort * (1 + self.pace.over_sampling))
        # A node id is a random number of 64 bits that Flower chose; its place in the list is as random.
        chosen = sample_cohort(plan, np.arange(len(able)), most)
        self.tally.asked = len(chosen)
        return [able[place] for place in chosen]

    def _enter(self, plan: Plan, questions: Questions) -> dict[int, bytes]:
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

        self._exchanges.take_in(questions, take, enough=lambda: len(roster) >= plan.cohort)
        self.tally.entered = len(roster)
        least = max(plan.min_count, LEAST_NEIGHBOURS + 1)
        if len(roster) < least:
            raise CohortTooSmall(plan.round_number, len(roster), least)
        return roster

    def _sum(self, plan: Plan, questions: Questions, fixed_point: FixedPoint) -> tuple[Update, int]:
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

        failed = questions.failed

        def over() -> bool:  # under masks one that says no spoils the sum: the round is begun again at once
            return self.tally.answered >= plan.cohort or (plan.masked and bool(failed))

        self._exchanges.take_in(questions, take, enough=over)
        count, asked = self.tally.answered, len(questions.asked)
        if plan.masked:
            self._spoilers.blame(questions.asked, failed)
            if count < asked:  # all that others masked with, also one that could not even be sent its question
                raise DevicesLeft(plan.round_number, asked - count, asked)
        if count < plan.min_count:
            raise CohortTooSmall(plan.round_number, count, plan.min_count)
        return fixed_point.decode_words(total), count
