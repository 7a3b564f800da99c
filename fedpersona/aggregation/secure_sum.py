"""A secure sum over a grid: the exchanges of :class:`~fedpersona.privacy.secagg.ServerRound`, device by device.

Each exchange asks those that answered the one before. A device that leaves is left out from there on; whether the sum
can still be opened is for the mathematics to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.exchange import Exchanges, Questions
from fedpersona.errors import LayoutMismatch, ParcelRefused
from fedpersona.privacy.secagg import ServerRound
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, decode
from fedpersona.wire.parcel import BODIES, Parcel, verify_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_roster import sign_roster

__all__ = ["SecureSum"]

_MOST_OF = 0.9  # share of the devices asked after which those that are late are waited for a little only


class SecureSum:
    """One attempt at one secure sum.

    Args:
        exchanges: the way to the devices.
        plan: the round.
        layout: of its updates.
        key: the operator's, which signs the roster.
        stage: times a stage by name.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        plan: Plan,
        layout: Layout,
        *,
        key: Ed25519PrivateKey,
        stage: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._exchanges = exchanges
        self._plan = plan
        self._digest = plan.hash()
        self._layout = layout
        self._key = key
        self._stage = stage
        self._places: dict[int, int] = {}
        """Place in the roster by node."""
        self._round = ServerRound.for_plan(plan, layout.size)
        self._summed: dict[int, int] = {}
        """Place by node, of those whose update is in the sum."""
        self.failed: set[int] = set()
        """Devices, by node, that entered and then failed the round: by silence, by a no, or by what does not fit."""

    @property
    def entered(self) -> tuple[int, ...]:
        """Devices of the roster, by node."""
        return tuple(self._places)

    @property
    def summed(self) -> tuple[int, ...]:
        """Devices in the sum, by node."""
        return tuple(self._summed)

    @property
    def likely(self) -> frozenset[int]:
        """Devices, by node, of which one may have spoilt the sum; nobody can say that it did."""
        return frozenset(node for node, place in self._places.items() if place in self._round.suspected)

    @property
    def count(self) -> int:
        """How many devices are in the sum."""
        return self._round.count

    def collect(self, asked: Mapping[int, Mapping[str, bytes]]) -> Words:
        """Take a sum over devices.

        Args:
            asked: by node, the fields of the question whether it takes part.

        Raises:
            CohortTooSmall: fewer devices entered, or stayed, than the plan says.
            DevicesLeft: so many left that the sum cannot be opened.
            SumSpoilt: what they sent does not fit together.
        """
        try:
            with self._stage("entering"):
                self._enter(asked)
            with self._stage("sharing"):
                sharing = self._share()
            with self._stage("updating"):
                self._update(sharing)
            with self._stage("agreeing"):
                self._agree()
            with self._stage("unmasking"):
                return self._unmask()
        finally:
            nodes = {place: node for node, place in self._places.items()}
            self.failed |= {nodes[place] for place in self._round.faulty}
            self._round.erase()

    def _enter(self, asked: Mapping[int, Mapping[str, bytes]]) -> None:
        """Take in the keys of those that enter, until all answered, the cohort is full or time is up."""

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            self._places[node] = self._round.enter(signer, parcel["keys"], parcel["signature"])

        plan, tally = self._plan, self._exchanges.tally
        wanted = max(plan.min_count, _MOST_OF * min(len(asked), plan.cohort))
        self._exchanges.take_in(
            self._exchanges.ask("query.enter", asked),
            take,
            enough=lambda: self._round.entered >= plan.cohort,
            settled=lambda: self._round.entered >= wanted,
        )
        tally.entered = self._round.entered

    def _share(self) -> dict[int, int]:
        """Close the roster, show it, and take in sealed shares; return those that go on, place by node."""
        head = self._round.close_roster().encode()
        signature = sign_roster(head, self._digest, self._key)
        shared = {"plan_hash": self._digest.encode(), "roster": head, "signature": signature}
        done = 0

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            nonlocal done
            self._verified(parcel, signer)
            self._round.take_sealed(self._places[node], parcel["sealed"])
            done += 1

        questions = {node: {**shared, "view": self._round.view(place)} for node, place in self._places.items()}
        self._exchange("query.share", questions, take, lambda: done >= _MOST_OF * len(questions))
        going = self._round.close_shares()
        return {node: place for node, place in self._places.items() if place in going}

    def _update(self, places: Mapping[int, int]) -> None:
        """Add up the masked updates as they come."""
        tally = self._exchanges.tally

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            self._verified(parcel, signer)
            message = parcel["update"]
            try:
                words = decode(message, plan_hash=self._digest, layout=self._layout, ring_bits=self._plan.ring_bits)
            except LayoutMismatch:
                raise ParcelRefused("an update of another form, or for another round") from None
            self._round.take_vector(places[node], words)
            self._summed[node] = places[node]
            tally.answered += 1

        questions = self._questions(places, "shares", self._round.delivered)
        self._exchange("train.update", questions, take, self._round.recoverable)

    def _agree(self) -> None:
        """Show everybody in the sum who is in it, and take in their signatures."""
        survivors = self._round.close_vectors()

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            self._round.take_signature(self._places[node], parcel["signature"])

        shown = {"plan_hash": self._digest.encode(), "survivors": survivors}
        self._exchange("query.agree", dict.fromkeys(self._summed, shown), take, self._round.agreeable)

    def _unmask(self) -> Words:
        """Take in the shares of those that agree, and open the sum."""
        able = self._round.close_signatures()

        def take(node: int, parcel: Parcel, signer: bytes) -> None:
            self._verified(parcel, signer)
            self._round.take_shares(self._places[node], parcel["shares"])

        places = {node: place for node, place in self._summed.items() if place in able}
        questions = self._questions(places, "signatures", self._round.signatures)
        self._exchange("query.unmask", questions, take, self._round.openable)
        return self._round.open()

    # -- one exchange --

    def _questions(
        self, places: Mapping[int, int], name: str, body: Callable[[int], bytes]
    ) -> dict[int, dict[str, bytes]]:
        digest = self._digest.encode()
        return {node: {"plan_hash": digest, name: body(place)} for node, place in places.items()}

    def _exchange(
        self,
        kind: str,
        questions: Mapping[int, Mapping[str, bytes]],
        take: Callable[[int, Parcel, bytes], None],
        settled: Callable[[], bool],
    ) -> None:
        asked: Questions = self._exchanges.ask(kind, questions)
        self._exchanges.take_in(asked, take, settled=settled)
        self.failed |= asked.failed

    def _verified(self, parcel: Parcel, signer: bytes) -> None:
        """Check that the device made the answer, for this very plan."""
        body = parcel[BODIES[parcel.kind]]
        verify_reply(parcel.kind, self._digest, body, parcel["signature"], signer)
