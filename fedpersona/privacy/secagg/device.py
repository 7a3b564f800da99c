"""The device's side of one round: Bell et al. 2020, algorithm 3, with the consistency check of Bonawitz et al. 2017.

Five steps, each taken once and in order. What does not fit ends the round for the device, and its secrets with it: a
server gets no second answer to a better question. No input and no output here: bytes in, bytes out.

| step | in | out |
| --- | --- | --- |
| :meth:`~DeviceRound.advertise` | | public keys, to be signed |
| :meth:`~DeviceRound.share` | the roster's head, and the neighbours' entries | sealed shares of both secrets |
| :meth:`~DeviceRound.mask` | the neighbours' sealed shares | the masked vector, in place |
| :meth:`~DeviceRound.agree` | who is in the sum | what is to be signed |
| :meth:`~DeviceRound.unmask` | the neighbours' signatures | one share of each neighbour |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from secrets import token_bytes
from typing import NoReturn

from fedpersona.errors import PlanRefused, ReplyUnsigned
from fedpersona.privacy.secagg import messages
from fedpersona.privacy.secagg.graph import MOST_DEVICES, neighbours_of
from fedpersona.privacy.secagg.keys import (
    PrivateKey,
    agree,
    committed,
    open_sealed,
    seal,
    self_seed,
)
from fedpersona.privacy.secagg.masks import add_masks
from fedpersona.privacy.secagg.parameters import LEAST_ROSTER, Parameters
from fedpersona.privacy.secagg.roster import Entry, Head, root_of
from fedpersona.privacy.secagg.shamir import PRIME, encode_element, split
from fedpersona.privacy.secagg.survivors import bits_of
from fedpersona.wire.message import Words
from fedpersona.wire.parcel import verify_reply
from fedpersona.wire.plan import Plan

__all__ = ["DeviceRound"]


@dataclass
class _Secrets:
    """What must not outlive the round."""

    c: PrivateKey | None = None
    s: PrivateKey | None = None
    sealing: dict[int, bytes] = field(default_factory=dict)
    """What the ``c`` keys agree on, by place of the neighbour."""
    masking: dict[int, bytes] = field(default_factory=dict)
    """What the ``s`` keys agree on."""
    b: int = 0
    """Seed of the device's own mask."""
    held: dict[int, bytes | None] = field(default_factory=dict)
    """The shares that neighbours sealed for this device; None where one does not open."""


class DeviceRound:
    """One device in one round.

    Args:
        plan_hash: of the signed plan; it covers the round and the hash of the model that it starts from.
        parameters: k and t of the plan. Whether they are enough is for the device's policy to say.
        least: fewest devices that the sum may be of; the plan's ``min_count``.
        most: most devices that the roster may have; the plan's ``cohort``.
        least_neighbours: fewest neighbours that this device masks with, or all others of a smaller roster.
        identity: the device's enrolled public key.
        random: gives so many cryptographically random bytes. Only invented devices have another than the system's.

    Raises (each step):
        PlanRefused: says what does not fit; the secrets are gone.
    """

    def __init__(
        self,
        plan_hash: str,
        parameters: Parameters,
        *,
        least: int,
        most: int,
        identity: bytes,
        least_neighbours: int = 0,
        random: Callable[[int], bytes] = token_bytes,
    ) -> None:
        self._plan_hash = plan_hash
        self._parameters = parameters
        self._least = max(least, LEAST_ROSTER)
        self._most = most
        self._least_neighbours = least_neighbours
        self._identity = identity
        self._random = random
        self._step = 0
        self._secrets = _Secrets()
        self._head = Head(0, b"")
        self._roster = b""
        self._place = 0
        self._entries: dict[int, Entry] = {}
        """Of the neighbours, by place, increasing."""
        self._shared: tuple[int, ...] = ()
        """Neighbours that shared: A2, as far as this device sees."""
        self._survivors: frozenset[int] = frozenset()
        self._agreed = b""

    @classmethod
    def for_plan(
        cls,
        plan: Plan,
        identity: bytes,
        *,
        least_neighbours: int = 0,
        random: Callable[[int], bytes] = token_bytes,
    ) -> DeviceRound:
        """Return one device's side of a plan's round.

        Raises:
            ConfigError: the plan's k and t are none.
        """
        return cls(
            plan.hash(),
            Parameters.of(plan),
            least=plan.min_count,
            most=plan.cohort,
            identity=identity,
            least_neighbours=least_neighbours,
            random=random,
        )

    @property
    def finished(self) -> bool:
        """Whether nothing is left to answer, and no secret."""
        return self._step == _OVER

    def advertise(self) -> bytes:
        """Draw fresh keys. Step 0 of algorithm 3.

        Returns:
            The public halves of ``c`` and ``s``, 64 bytes; they have to be signed by the device's identity.
        """
        with self._taking(0):
            secrets = self._secrets
            secrets.c, secrets.s = PrivateKey.draw(self._random), PrivateKey.draw(self._random)
            return secrets.c.public + secrets.s.public

    def share(self, head: bytes, view: bytes) -> bytes:
        """Check the roster, and share both secrets among the neighbours. Steps 1 and 2 of algorithm 3.

        Args:
            head: of the roster: its size and its root. Whoever calls has checked the operator's signature.
            view: this device's place, its neighbours' entries, and the proof that they stand in the roster.

        Returns:
            A commitment to ``b``, and for each neighbour, by increasing place, the sealed shares.
        """
        with self._taking(1):
            self._enter(Head.decode(head), *messages.decode_view(view))
            secrets, random = self._secrets, self._random
            secrets.b = int.from_bytes(random(48), "little") % PRIME
            needed = self._parameters.needed(len(self._entries))
            points = [place + 1 for place in self._entries]
            own, key = split(secrets.b, points, needed, random), split(_kept(secrets.s).scalar, points, needed, random)
            sealed = [
                seal(
                    secrets.sealing[place],
                    self._roster,
                    self._place,
                    place,
                    encode_element(mine) + encode_element(theirs),
                )
                for place, mine, theirs in zip(self._entries, own, key, strict=True)
            ]
            return committed(secrets.b, self._roster) + b"".join(sealed)

    def mask(self, words: Words, delivered: bytes) -> None:
        """Take the shares of others, and mask the update in place. Step 3 of algorithm 3.

        Args:
            words: the fixed-point update, shape (n,); changed only when everything fits.
            delivered: which neighbours shared, and what they sealed for this device.
        """
        with self._taking(2):
            secrets = self._secrets
            sealed = messages.decode_delivered(delivered, tuple(self._entries))
            needed = self._parameters.needed(len(self._entries))
            if self._least_neighbours < self._head.size:  # of a smaller roster all were asked, and some may leave
                needed = max(needed, self._least_neighbours)
            if len(sealed) < needed:
                _refuse(f"{len(sealed)} of this device's neighbours are left in the round, it needs {needed}")
            for place, shares in sealed.items():
                secrets.held[place] = open_sealed(secrets.sealing[place], self._roster, place, self._place, shares)
            self._shared = tuple(sealed)
            seeds = {place: agree(secrets.masking[place], self._roster) for place in sealed}
            add_masks(
                words,
                [self_seed(secrets.b, self._roster), *(seed for place, seed in seeds.items() if place > self._place)],
                [seed for place, seed in seeds.items() if place < self._place],
            )
            # What masked is not needed any more: it cannot be taken from this device from now on.
            secrets.c = secrets.s = None
            secrets.b = 0
            secrets.sealing.clear()
            secrets.masking.clear()

    def agree(self, survivors: bytes) -> bytes:
        """Look at who is said to be in the sum. The consistency check of Bonawitz et al. 2017, figure 4, round 3.

        Args:
            survivors: one bit a device of the roster.

        Returns:
            What the device's identity has to sign.
        """
        with self._taking(3):
            found = bits_of(survivors, self._head.size)
            if found is None:
                _refuse("the server's list of who is in the sum is of another form than agreed")
            if self._place not in found:
                _refuse("the server says that this device is not in the sum: it gets no help with that sum")
            if len(found) < self._least:
                _refuse(f"the sum would be of {len(found)} devices, the plan says {self._least} or more")
            if not found & self._entries.keys() <= set(self._shared):
                _refuse("the server says that a device is in the sum which, by its own word, had left")
            self._survivors, self._agreed = found, messages.agreed(self._roster, survivors)
            return self._agreed

    def unmask(self, signatures: bytes) -> bytes:
        """Check that enough neighbours saw the same list, and give one share of each neighbour. Step 4 of algorithm 3.

        Of a neighbour in the sum its share of ``b``, of one that left its share of ``s``: never both.

        Args:
            signatures: of neighbours in the sum, over the same list.

        Returns:
            Which neighbours' shares there are, and the shares.
        """
        with self._taking(4):
            signed = messages.decode_signatures(signatures)
            for place, signature in signed.items():
                entry = self._entries.get(place)
                if entry is None or place not in self._survivors:
                    _refuse("a signature under the list of who is in the sum is of no neighbour that is in it")
                if not _signed("query.agree", self._plan_hash, self._agreed, signature, entry.identity):
                    _refuse("a neighbour's signature is for another list of who is in the sum")
            needed = self._parameters.needed(len(self._entries))
            if len(signed) < needed:
                _refuse(f"{len(signed)} neighbours saw the list of who is in the sum, it takes {needed}")
            shares: dict[int, bytes] = {}
            for place in self._shared:
                held = self._secrets.held[place]
                if held is not None:
                    shares[place] = held[:32] if place in self._survivors else held[32:]
            answer = messages.encode_shares(shares, tuple(self._entries))
            self.erase()
            return answer

    def erase(self) -> None:
        """Forget every secret: the round is over for this device."""
        self._secrets = _Secrets()
        self._step = _OVER

    # -- inner workings --

    @contextmanager
    def _taking(self, step: int) -> Iterator[None]:
        """Take a step, once and in order; whatever goes wrong in it ends the round."""
        if self._step != step:
            self.erase()
            _refuse("the server asked for a step of the round a second time, or out of order")
        try:
            yield
        except BaseException:
            self.erase()
            raise
        if self._step == step:
            self._step += 1

    def _enter(self, head: Head, place: int, entries: list[Entry], proof: bytes) -> None:
        """Check the roster and this device's place in it, and agree on keys with its neighbours."""
        if head.size > MOST_DEVICES:
            _refuse(f"the roster has {head.size:,} devices, this one takes part among {MOST_DEVICES:,} at most")
        if not self._least <= head.size <= self._most:
            _refuse(f"the roster has {head.size:,} devices, the plan says {self._least:,} to {self._most:,}")
        if place >= head.size:
            _refuse("the roster has no such place as this device is said to be at")
        secrets = self._secrets
        mine = Entry(self._identity, _kept(secrets.c).public + _kept(secrets.s).public, b"")
        self._head, self._roster, self._place = head, head.hash(self._plan_hash), place
        places = neighbours_of(self._roster, head.size, self._parameters.neighbours, place)
        if len(places) < min(self._least_neighbours, head.size - 1):
            _refuse(f"this device would mask with {len(places)} others, it wants {self._least_neighbours} or more")
        if len(places) != len(entries):
            _refuse(f"the server shows {len(entries)} neighbours, the roster says {len(places)}")
        self._entries = dict(zip(places, entries, strict=True))
        leaves = {other: entry.leaf for other, entry in self._entries.items()} | {place: mine.leaf}
        if root_of(leaves, head.size, proof) != head.root:
            _refuse("this device or a neighbour does not stand in the roster where the server says")
        if len({self._identity, *(entry.identity for entry in entries)}) != len(entries) + 1:
            _refuse("the roster names a device twice")
        for entry in entries:
            if not _signed("query.enter", self._plan_hash, entry.keys, entry.signature, entry.identity):
                _refuse("a neighbour's keys are not signed by it, for this plan")
        secrets.sealing = self._agreed_with(_kept(secrets.c), {at: one.c for at, one in self._entries.items()})
        secrets.masking = self._agreed_with(_kept(secrets.s), {at: one.s for at, one in self._entries.items()})

    def _agreed_with(self, key: PrivateKey, others: dict[int, bytes]) -> dict[int, bytes]:
        """Return what a key agrees on with each neighbour's."""
        found: dict[int, bytes] = {}
        for place, other in others.items():
            secret = key.exchange(other)
            if secret is None:
                _refuse("the roster has an entry that is no key")
            found[place] = secret
        if len({*found.values(), key.exchange(key.public)}) != len(found) + 1:
            # Points that differ by one of low order are different keys with the same secret (RFC 7748, section 7).
            _refuse("the roster names a key twice, by two keys of the same effect")
        return found


_OVER = 5


def _kept(key: PrivateKey | None) -> PrivateKey:
    if key is None:
        _refuse("this device has no keys any more")
    return key


def _refuse(why: str) -> NoReturn:
    raise PlanRefused(why)


@lru_cache(maxsize=4096)
def _signed(kind: str, plan_hash: str, body: bytes, signature: bytes, identity: bytes) -> bool:
    """Tell whether a device signed something public. Kept, as all devices of a simulation look at the same."""
    try:
        verify_reply(kind, plan_hash, body, signature, identity)
    except ReplyUnsigned:
        return False
    return True
