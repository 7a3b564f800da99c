"""The server's side of one round: Bell et al. 2020, algorithm 3. It sees sealed shares, masked vectors, and a sum.

Five exchanges, each closed before the next begins; a device that missed one is not asked in the next. The sets of the
paper are A1 (the roster), A2 (shared), A3 (in the sum), A4 (signed the list of A3). Devices go by their place in the
roster. No input and no output here: what devices answered in, what to ask them out.
"""

from __future__ import annotations

from collections.abc import Collection
from secrets import token_bytes

import numpy as np

from fedpersona.errors import CohortTooSmall, DevicesLeft, ParcelRefused, RoundFailed, SumSpoilt
from fedpersona.privacy.secagg import messages
from fedpersona.privacy.secagg.graph import everyone
from fedpersona.privacy.secagg.keys import PrivateKey, agree, committed, self_seed
from fedpersona.privacy.secagg.masks import add_masks
from fedpersona.privacy.secagg.parameters import LEAST_ROSTER, Parameters
from fedpersona.privacy.secagg.recovery import recover_secrets
from fedpersona.privacy.secagg.roster import Entry, Head, Roster
from fedpersona.privacy.secagg.shamir import decode_element
from fedpersona.privacy.secagg.survivors import encoded_bits
from fedpersona.wire.message import Words, word_type
from fedpersona.wire.parcel import verify_reply
from fedpersona.wire.plan import Plan

__all__ = ["ServerRound"]


class ServerRound:
    """One attempt at a round. What fails is begun again as another, with another plan and other keys.

    Args:
        plan_hash: of the signed plan.
        round_number: for errors.
        parameters: k and t of the plan.
        least: fewest devices that the sum may be of; the plan's ``min_count``.
        total: where vectors are added up: zeros, uint32 or uint64, shape (n,).
    """

    def __init__(self, plan_hash: str, round_number: int, parameters: Parameters, *, least: int, total: Words) -> None:
        self._plan_hash = plan_hash
        self._round_number = round_number
        self._parameters = parameters
        self._least = max(least, LEAST_ROSTER)
        self._total = total
        self._probe = PrivateKey.draw(token_bytes)
        """Masks nothing: what it agrees on with a key tells whether another has the same effect."""
        self._effects: set[bytes] = set()
        self._identities: set[bytes] = set()
        self._entered: list[Entry] = []
        self._tree: Roster | None = None
        self._roster = b""
        self._neighbours: list[tuple[int, ...]] = []
        self._commitments: dict[int, bytes] = {}
        self._sealed: dict[int, dict[int, bytes]] = {}
        """By sender and receiver."""
        self._shared: frozenset[int] = frozenset()
        self._summed: set[int] = set()
        self._signed: dict[int, bytes] = {}
        self._agreed = b""
        self._survivors = b""
        self._asked: frozenset[int] = frozenset()
        """For shares of the secrets."""
        self._answered: set[int] = set()
        self._shares: dict[int, dict[int, int]] = {}
        """By device whose secret it is, and point."""
        self.suspected: set[int] = set()
        """Devices whose secret could not be recovered: they dealt wrong shares, or enough neighbours lied together."""
        self.faulty: set[int] = set()
        """Devices that shared or answered what does not fit."""

    @classmethod
    def for_plan(cls, plan: Plan, size: int) -> ServerRound:
        """Return the server's side of a plan's round, over vectors of ``size`` numbers."""
        return cls(
            plan.hash(),
            plan.round_number,
            Parameters.of(plan),
            least=plan.min_count,
            total=np.zeros(size, word_type(plan.ring_bits)),
        )

    # -- who takes part: A1 --

    def enter(self, identity: bytes, keys: bytes, signature: bytes) -> int:
        """Take in a device's keys; return which it is of those that entered, from 0: its place once they are closed.

        Raises:
            ParcelRefused: the keys are not signed by it, are no keys, or are another's.
        """
        entry = Entry(identity, keys, signature)
        if len(keys) != 64:
            raise ParcelRefused("keys of another size than agreed")
        verify_reply("query.enter", self._plan_hash, keys, signature, identity)
        effects = {self._probe.exchange(entry.c), self._probe.exchange(entry.s)}
        if None in effects or len(effects) != 2:
            raise ParcelRefused("a key that nobody could mask with")
        if effects & self._effects or identity in self._identities:
            raise ParcelRefused("a key that another device entered with")
        self._effects |= {effect for effect in effects if effect is not None}
        self._identities.add(identity)
        self._entered.append(entry)
        return len(self._entered) - 1

    @property
    def entered(self) -> int:
        """How many devices entered."""
        return len(self._entered)

    def close_roster(self) -> Head:
        """Close the roster; return what is to be signed by the operator and shown to everybody.

        Raises:
            CohortTooSmall: fewer entered than the sum may be of.
        """
        self._enough(len(self._entered))
        self._tree = Roster(tuple(self._entered))
        head = self._tree.head
        self._roster = head.hash(self._plan_hash)
        self._neighbours = everyone(self._roster, head.size, self._parameters.neighbours)
        return head

    def view(self, place: int) -> bytes:
        """Return what one device is shown of the roster."""
        tree = self._closed()
        others = self._neighbours[place]
        return messages.encode_view(place, [tree.entries[other] for other in others], tree.proof({place, *others}))

    # -- shares: A2 --

    def take_sealed(self, place: int, answer: bytes) -> None:
        """Take in what a device sealed for its neighbours.

        Raises:
            ParcelRefused: it is of another form, late, or a second one.
        """
        if self._shared or place in self._sealed:
            raise ParcelRefused("sealed shares of a device that is not asked for them")
        self._commitments[place], self._sealed[place] = messages.decode_sealed(answer, self._neighbours[place])

    def close_shares(self) -> frozenset[int]:
        """Return who goes on: those that shared and have enough neighbours that did, A2.

        Raises:
            CohortTooSmall: these are fewer than the sum may be of.
        """
        going = set(self._sealed)
        while weak := {place for place in going if not self._served(place, going)}:
            going -= weak
        self._shared = frozenset(going)
        self._enough(len(going))
        return self._shared

    def delivered(self, place: int) -> bytes:
        """Return what a device's neighbours sealed for it."""
        sealed = {other: self._sealed[other][place] for other in self._neighbours[place] if other in self._shared}
        return messages.encode_delivered(sealed, self._neighbours[place])

    # -- masked vectors: A3 --

    def take_vector(self, place: int, words: Words) -> None:
        """Add a masked vector to the sum.

        Args:
            place: of a device of A2, that gave none yet.
            words: of the type and shape of the total.

        Raises:
            ParcelRefused: they are of another, late, or a second vector.
        """
        if self._survivors or place not in self._shared or place in self._summed:
            raise ParcelRefused("a vector of a device that is not asked for one")
        if words.shape != self._total.shape or words.dtype != self._total.dtype:
            raise ParcelRefused("a vector of another form than agreed")  # numpy would stretch a short one
        np.add(self._total, words, out=self._total)
        self._summed.add(place)

    def recoverable(self) -> bool:
        """Tell whether the vectors that are there make a sum that can be opened, if nobody else leaves."""
        return len(self._summed) >= self._least and not self._lost(self._summed)

    def close_vectors(self) -> bytes:
        """Return who is in the sum, one bit a place of the roster.

        Raises:
            CohortTooSmall: fewer than the sum may be of.
            DevicesLeft: so many neighbours of a device left that its masks cannot be taken off.
        """
        self._enough(len(self._summed))
        self._served_by(self._summed)
        self._sealed.clear()  # nobody needs them any more
        self._survivors = encoded_bits(self._summed, len(self._entered))
        self._agreed = messages.agreed(self._roster, self._survivors)
        return self._survivors

    @property
    def count(self) -> int:
        """How many devices are in the sum."""
        return len(self._summed)

    @property
    def summed(self) -> frozenset[int]:
        """Devices in the sum, A3, by place."""
        return frozenset(self._summed)

    # -- one list for all: A4 --

    def take_signature(self, place: int, signature: bytes) -> None:
        """Take in a device's signature under the list of who is in the sum.

        Raises:
            ParcelRefused: the device is not in the sum: with its signature among others these refuse.
            ReplyUnsigned: it is under another.
        """
        if place not in self._summed:
            raise ParcelRefused("a signature of a device that is not asked for one")
        identity = self._closed().entries[place].identity
        verify_reply("query.agree", self._plan_hash, self._agreed, signature, identity)
        self._signed[place] = signature

    @property
    def agreed(self) -> bytes:
        """What devices sign about who is in the sum."""
        return self._agreed

    def agreeable(self) -> bool:
        """Tell whether those who signed can open the sum, if all of them answer."""
        return not self._lost(self._signed)

    def close_signatures(self) -> frozenset[int]:
        """Return who is asked for shares: those that signed, and whose neighbours did.

        Raises:
            DevicesLeft: these are too few to take some device's masks off.
        """
        able = {place for place in self._signed if self._served(place, self._signed)}
        self._served_by(able)
        self._asked = frozenset(able)
        return self._asked

    def signatures(self, place: int) -> bytes:
        """Return the signatures that a device has to see: of as many neighbours as it takes."""
        others = [other for other in self._neighbours[place] if other in self._signed]
        needed = self._parameters.needed(len(self._neighbours[place]))
        return messages.encode_signatures({other: self._signed[other] for other in others[:needed]})

    # -- shares of the secrets, and the sum --

    def take_shares(self, place: int, answer: bytes) -> None:
        """Take in a device's shares of its neighbours' secrets.

        Raises:
            ParcelRefused: they are of another form, no numbers of the field, or a second answer.
        """
        if place not in self._asked or place in self._answered:
            raise ParcelRefused("shares of a device that is not asked for them")
        found = messages.decode_shares(answer, self._neighbours[place])
        numbers = {other: decode_element(share) for other, share in found.items()}
        if any(number is None for number in numbers.values()):
            raise ParcelRefused("a share that is no number of the field")
        self._answered.add(place)
        for other, number in numbers.items():
            if number is not None and other in self._shared:
                self._shares.setdefault(other, {})[place + 1] = number

    def openable(self) -> bool:
        """Tell whether there are enough shares of every secret, if all of them are right."""
        return all(len(self._shares.get(place, ())) >= self._needed(place) for place in self._targets())

    def open(self) -> Words:
        """Take all masks off the sum.

        Raises:
            DevicesLeft: there are too few shares of some secret. Nothing can be read from the sum.
            SumSpoilt: the shares of some secret are missing, or do not fit; :attr:`suspected` has whose. Likewise.
        """
        targets = self._targets()
        short = [place for place in targets if len(self._shares.get(place, ())) < self._needed(place)]
        self.suspected |= {place for place in short if self._served(place, self._answered)}
        if self.suspected:
            # Enough neighbours answered, and too few had a share: who dealt none, or who kept it, nobody can tell.
            raise SumSpoilt(self._round_number, f"the shares of the secrets of {len(short)} devices are missing")
        if short:
            raise DevicesLeft(self._round_number, len(short), len(targets))
        asked = {place: self._shares[place] for place in targets}
        secrets, misfits = recover_secrets(asked, self._needed, self._right)
        self.faulty |= misfits
        self.suspected |= {place for place, secret in secrets.items() if secret is None}
        spoilt = sum(secret is None for secret in secrets.values())
        if spoilt:
            raise SumSpoilt(self._round_number, f"the shares of the secrets of {spoilt} devices do not fit")
        for place, secret in secrets.items():
            if secret is not None:
                self._take_off(place, secret)
        self.erase()
        return self._total

    def erase(self) -> None:
        """Forget all that devices sent: nothing of a round outlives it but the sum."""
        self._sealed.clear()
        self._shares.clear()
        self._commitments.clear()
        self._signed.clear()

    # -- inner workings --

    def _right(self, place: int, secret: int) -> bool:
        """Tell whether a secret is ``b`` of a device in the sum, or ``s`` of one that left."""
        if place in self._summed:
            return committed(secret, self._roster) == self._commitments[place]
        return PrivateKey(secret).public == self._closed().entries[place].s

    def _take_off(self, place: int, secret: int) -> None:
        """Take a device's own mask off, or, where it left, what those in the sum masked with it."""
        if place in self._summed:
            add_masks(self._total, subtracted=[self_seed(secret, self._roster)])
            return
        key, entries = PrivateKey(secret), self._closed().entries
        above: list[bytes] = []
        below: list[bytes] = []
        for other in self._neighbours[place]:
            if other in self._summed:
                secret_with = key.exchange(entries[other].s)
                if secret_with is None:
                    raise RoundFailed("a key that was looked at when its device entered is none")
                (below if other < place else above).append(agree(secret_with, self._roster))
        # A device adds the mask that it has with one of a higher place, and subtracts that with one of a lower.
        add_masks(self._total, added=above, subtracted=below)

    def _needed(self, place: int) -> int:
        return self._parameters.needed(len(self._neighbours[place]))

    def _served(self, place: int, there: Collection[int]) -> bool:
        """Tell whether so many neighbours of a device are there that they can recover its secrets."""
        return sum(other in there for other in self._neighbours[place]) >= self._needed(place)

    def _targets(self) -> frozenset[int]:
        """Return whose secrets are needed: those in the sum, and those that left and masked with one that is."""
        return self._shared - {
            place
            for place in self._shared - self._summed
            if not any(other in self._summed for other in self._neighbours[place])
        }

    def _lost(self, there: Collection[int]) -> int:
        return sum(not self._served(place, there) for place in self._targets())

    def _served_by(self, there: Collection[int]) -> None:
        lost = self._lost(there)
        if lost:
            raise DevicesLeft(self._round_number, lost, len(self._targets()))

    def _enough(self, count: int) -> None:
        if count < self._least:
            raise CohortTooSmall(self._round_number, count, self._least)

    def _closed(self) -> Roster:
        if self._tree is None:
            raise RoundFailed("the roster is still open")
        return self._tree
