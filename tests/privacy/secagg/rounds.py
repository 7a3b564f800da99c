"""A round in one process, exchange by exchange, with whatever a test wants to go wrong in it.

Everything follows from a seed: a test sees the same keys, graph and masks each time it runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.errors import Refusal, WireError
from fedpersona.privacy.secagg import DeviceRound, Parameters, ServerRound
from fedpersona.privacy.secagg.messages import decode_shares
from fedpersona.privacy.secagg.survivors import bits_of
from fedpersona.wire.message import Words
from fedpersona.wire.parcel import sign_reply

PLAN = "ab" * 32
EXCHANGES = ("enter", "share", "train", "agree", "unmask")

Tamper = Callable[[str, int, bytes], bytes]
"""Gets the name of a message, the place of the device that it is from or for, and the message."""


def untouched(name: str, place: int, message: bytes) -> bytes:
    return message


@dataclass
class Person:
    """One device, its enrolled key, and what it has to say."""

    key: Ed25519PrivateKey
    machine: DeviceRound
    plain: Words

    @property
    def identity(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def sign(self, kind: str, body: bytes, plan: str = PLAN) -> bytes:
        return sign_reply(kind, plan, body, self.key)


@dataclass
class Round:
    """A server and ``size`` devices. ``people`` are those that entered, by place, once the first exchange is over."""

    size: int
    parameters: Parameters
    least: int = 3
    words: int = 8
    ring: int = 32
    seed: int = 1
    plan: str = PLAN
    tamper: Tamper = untouched
    people: list[Person] = field(init=False)
    present: set[int] = field(init=False)
    """Places of devices that neither left nor refused."""
    refusals: dict[int, Exception] = field(default_factory=dict)
    sent: dict[int, Words] = field(default_factory=dict)
    """Masked vectors."""
    handed: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    """By device: which kind of share of its secrets was given out, by whom."""

    def __post_init__(self) -> None:
        total = np.zeros(self.words, f"<u{self.ring // 8}")
        self.server = ServerRound(self.plan, 1, self.parameters, least=self.least, total=total)
        self.people = [self.person(number) for number in range(self.size)]
        self.head = b""
        self.shared: frozenset[int] = frozenset()
        self.survivors = b""
        self.asked: frozenset[int] = frozenset()

    def person(self, number: int) -> Person:
        random = np.random.default_rng([self.seed, number])
        key = Ed25519PrivateKey.from_private_bytes(random.bytes(32))
        kind = f"<u{self.ring // 8}"
        plain = random.integers(0, 2**self.ring, self.words, np.uint64).astype(kind)
        return Person(key, self.machine(key, random.bytes), plain)

    def machine(self, key: Ed25519PrivateKey, random: Callable[[int], bytes]) -> DeviceRound:
        identity = key.public_key().public_bytes_raw()
        return DeviceRound(
            self.plan, self.parameters, least=self.least, most=self.size + 1, identity=identity, random=random
        )

    # -- the five exchanges, and the end --

    def enter(self, gone: Collection[int] = ()) -> None:
        entered = []
        for number, person in enumerate(self.people):
            if number in gone:
                continue
            with self.noted(number):
                keys = person.machine.advertise()
                signature = self.tamper("entry signature", number, person.sign("query.enter", keys, self.plan))
                self.server.enter(person.identity, self.tamper("keys", number, keys), signature)
                entered.append(person)
        self.people = entered
        self.present = set(range(len(entered)))
        self.refusals.clear()
        self.head = self.server.close_roster().encode()

    def share(self, gone: Collection[int] = ()) -> None:
        for place in self.there(range(len(self.people)), gone):
            with self.noted(place):
                view = self.tamper("view", place, self.server.view(place))
                sealed = self.people[place].machine.share(self.tamper("head", place, self.head), view)
                self.server.take_sealed(place, self.tamper("sealed", place, sealed))
        self.shared = self.server.close_shares()

    def train(self, gone: Collection[int] = ()) -> None:
        for place in self.there(self.shared, gone):
            with self.noted(place):
                words = self.people[place].plain.copy()
                self.people[place].machine.mask(words, self.tamper("delivered", place, self.server.delivered(place)))
                self.server.take_vector(place, words)
                self.sent[place] = words
        self.survivors = self.server.close_vectors()

    def agree(self, gone: Collection[int] = ()) -> None:
        for place in self.there(self.sent, gone):
            with self.noted(place):
                agreed = self.people[place].machine.agree(self.tamper("survivors", place, self.survivors))
                signature = self.people[place].sign("query.agree", agreed, self.plan)
                self.server.take_signature(place, self.tamper("signature", place, signature))
        self.asked = self.server.close_signatures()

    def unmask(self, gone: Collection[int] = ()) -> None:
        for place in self.there(self.asked, gone):
            with self.noted(place):
                answer = self.answer(place, self.tamper("signatures", place, self.server.signatures(place)))
                self.server.take_shares(place, self.tamper("shares", place, answer))

    def answer(self, place: int, signatures: bytes) -> bytes:
        """Return a device's shares, and note which kind of which device's they are."""
        machine = self.people[place].machine
        held = dict(machine._secrets.held)
        answer = machine.unmask(signatures)
        for other, share in decode_shares(answer, self.neighbours(place)).items():
            kind = "b" if share == held[other][:32] else "s" if share == held[other][32:] else "neither"
            self.handed.setdefault(other, []).append((kind, place))
        return answer

    def run(self, gone: Mapping[str, Collection[int]] | None = None, *, until: str = "open") -> Words | None:
        """Go through the exchanges; devices in ``gone`` leave before they answer in one."""
        return self.run_from(EXCHANGES[0], gone, until=until)

    def run_from(
        self, first: str, gone: Mapping[str, Collection[int]] | None = None, *, until: str = "open"
    ) -> Words | None:
        """Go on with an exchange."""
        for exchange in EXCHANGES[EXCHANGES.index(first) :]:
            getattr(self, exchange)((gone or {}).get(exchange, ()))
            if exchange == until:
                return None
        return self.server.open()

    # -- what a test asks --

    def there(self, places: Iterable[int], gone: Collection[int]) -> list[int]:
        self.present -= set(gone)
        return sorted(set(places) & self.present)

    @contextmanager
    def noted(self, place: int) -> Iterator[None]:
        """A device that refuses, or whose answer is refused, is not there any more; the round goes on."""
        try:
            yield
        except (Refusal, WireError) as refusal:
            self.refusals[place] = refusal
            if self.head:
                self.present.discard(place)

    def neighbours(self, place: int) -> tuple[int, ...]:
        return self.server._neighbours[place]

    def needed(self, place: int) -> int:
        return self.parameters.needed(len(self.neighbours(place)))

    @property
    def summed(self) -> frozenset[int]:
        found = bits_of(self.survivors, len(self.people))
        assert found is not None
        return found

    def truth(self) -> Words:
        """The sum of what the devices in the sum have to say."""
        return self.sum_of(self.summed)

    def sum_of(self, places: Iterable[int]) -> Words:
        total = np.zeros_like(self.people[0].plain)
        for place in places:
            total += self.people[place].plain
        return total

    def given_out(self, place: int, kind: str) -> int:
        """How many shares of one kind of a device's secrets were given out."""
        return sum(one == kind for one, _ in self.handed.get(place, ()))

    def nobody_gave_both(self) -> bool:
        """Whether devices only ever gave one kind of share of a device: of ``b`` those of the sum, of ``s`` others."""
        return all(
            {kind for kind, _ in shares} == {"b" if place in self.summed else "s"}
            for place, shares in self.handed.items()
        )


COMPLETE = (9, Parameters(8, 5))
"""Nine devices, each of them every other's neighbour: 5 of 8 recover."""
SPARSE = (30, Parameters(8, 6))


@cache
def _kept(exchange: str, size: int, parameters: Parameters, words: int) -> Round:
    found = Round(size, parameters, words=words)
    found.run(until=exchange)
    return found


def after(exchange: str, graph: tuple[int, Parameters] = COMPLETE, words: int = 8) -> Round:
    """Return an honest round of which an exchange is just over: a copy, for a test to spoil."""
    return copy.deepcopy(_kept(exchange, *graph, words))
