"""Collecting the sum of a round over a Flower grid: the real one of a SuperLink, or one in this process.

The sum is a secure one, of :mod:`fedpersona.aggregation.secure_sum`, unless the plan says that updates are not masked:
for tests, and for simulations that ask for it. A real device refuses such a plan by default.
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

from fedpersona.aggregation.exchange import Exchanges
from fedpersona.aggregation.sampling import sample_cohort
from fedpersona.aggregation.secure_sum import SecureSum
from fedpersona.aggregation.spoilers import Spoilers
from fedpersona.aggregation.tally import Tally
from fedpersona.errors import (
    CohortTooSmall,
    DevicesAbsent,
    LayoutMismatch,
    ParcelRefused,
    SumSpoilt,
)
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.taste.counters import without_counters
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
    linger_seconds: float = 30.0
    """How long late devices are waited for in an exchange, once the sum can be opened without them."""


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
        layout: Callable[[Plan], Layout],
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
        self._exchanges = Exchanges(grid, enrolled, pace.deadline_seconds, rung, linger=pace.linger_seconds)
        self._spoilers = Spoilers()

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Ask the devices that are there, and return the sum over those that answered.

        Raises:
            DevicesAbsent: too few are there; nobody was asked.
            CohortTooSmall: too few entered, or answered; nothing is released.
            DevicesLeft: so many devices of a closed roster left that the sum cannot be opened; nothing is released.
            SumSpoilt: what devices sent does not fit together; nothing is released.
        """
        self.tally = self._exchanges.tally = Tally()
        self._exchanges.discard_late()
        with self._stage("gathering"):
            asked = self._gather(plan)
        layout = self.layout(plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        fields = {"plan": seal_plan(plan, self._key)}
        if self._model_bytes is not None:
            fields["model"] = self._model_bytes(shared)
        questions = dict.fromkeys(asked, fields)
        if not plan.masked:
            with self._stage("updating"):
                return fixed_point.decode_words(self._plain_sum(plan, layout, questions)), self.tally.answered
        secure = SecureSum(self._exchanges, plan, layout, key=self._key, stage=self._stage)
        try:
            total = fixed_point.decode_words(secure.collect(questions))
            without_counters(total, plan, secure.count)
        except SumSpoilt:
            self._spoilers.suspect(secure.entered, secure.likely)
            raise
        else:
            self._spoilers.clear(secure.summed)
            return total, secure.count
        finally:
            self._spoilers.blame(secure.entered, secure.failed)

    def forget_late(self) -> None:
        """Look for no late answers any more: their questions were deleted."""
        self._exchanges.forget_late()

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

    def _plain_sum(self, plan: Plan, layout: Layout, questions: Mapping[int, Mapping[str, bytes]]) -> Words:
        """Add up updates that are not masked, as they come."""
        digest = plan.hash()
        total: Words = np.zeros(layout.size, word_type(plan.ring_bits))
        self.tally.entered = len(questions)

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            message = parcel["update"]
            verify_reply(parcel.kind, digest, message, parcel["signature"], signer)
            try:
                words = decode(message, plan_hash=digest, layout=layout, ring_bits=plan.ring_bits)
            except LayoutMismatch:
                raise ParcelRefused("an update of another form, or for another round") from None
            np.add(total, words, out=total)
            self.tally.answered += 1

        self._exchanges.take_in(
            self._exchanges.ask("train.plain", questions), take, enough=lambda: self.tally.answered >= plan.cohort
        )
        if self.tally.answered < plan.min_count:
            raise CohortTooSmall(plan.round_number, self.tally.answered, plan.min_count)
        return total
