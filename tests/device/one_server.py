"""The server's part of one secure sum, for one real device among a crowd. It lies where a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device import starter
from fedpersona.privacy.secagg import Parameters, ServerRound
from fedpersona.privacy.secagg.graph import neighbours_of
from fedpersona.privacy.secagg.messages import encode_view
from fedpersona.privacy.secagg.roster import Entry, Roster
from fedpersona.simulation.secure_crowd import SecureCrowd
from fedpersona.taste import create
from fedpersona.taste.counters import round_layout
from fedpersona.wire.message import Words, decode, word_type
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_roster import sign_roster

ENTER, SHARE, UPDATE, AGREE, UNMASK = STEPS = (
    "query.enter",
    "query.share",
    "train.update",
    "query.agree",
    "query.unmask",
)
"""What a server asks in a round, in order."""

Fields: TypeAlias = "dict[str, bytes]"
Lie: TypeAlias = "Callable[[OneServer, Fields], Fields]"
"""Makes of what an honest server asks what this one does."""


class OneServer:
    """One round. The crowd is honest, and answers whenever the device was asked.

    Args:
        plan: the round.
        key: the operator's.
        others: how many of the crowd stand before the device in the roster, and how many after it.
        lies: by what is asked.
        gone: how many of those after it leave before an exchange, by the exchange.
    """

    def __init__(
        self,
        plan: Plan,
        key: Ed25519PrivateKey,
        *,
        others: tuple[int, int] = (4, 5),
        lies: Mapping[str, Lie] | None = None,
        gone: Mapping[str, int] | None = None,
    ) -> None:
        self.plan, self.hash, self.key = plan, plan.hash(), key
        self.layout = round_layout(create(plan.model, dict(plan.settings)), starter.catalogue(), plan)
        self.place = others[0]
        self.identity = b""
        self.summed_words = np.zeros(self.layout.size, word_type(plan.ring_bits))
        """Of the crowd, without masks."""
        self.server = ServerRound(
            self.hash,
            plan.round_number,
            Parameters(plan.neighbours, plan.threshold),
            least=plan.min_count,
            total=np.zeros(self.layout.size, word_type(plan.ring_bits)),
        )
        self.survivors = b""
        self._ids = list(range(sum(others)))
        self._crowds = tuple(SecureCrowd(plan, ids, seed=1) for ids in (self._ids[: others[0]], self._ids[others[0] :]))
        self._lies = lies or {}
        self._gone = gone or {}
        self._asked: dict[str, Fields] = {}

    # -- what the device is asked --

    def asks(self, kind: str) -> Fields:
        """Return the fields of an exchange's question, the same each time."""
        if kind not in self._asked:
            leaving = self._gone.get(kind, 0)
            for _ in range(leaving):
                self._crowds[1].leave([self._ids.pop()])
            honest = {"plan_hash": self.hash.encode(), **self._honest(kind)}
            self._asked[kind] = self._lies[kind](self, honest) if kind in self._lies else honest
        return self._asked[kind]

    def _honest(self, kind: str) -> Fields:
        server = self.server
        match kind:
            case "query.share":
                head = server.close_roster().encode()
                return {
                    "roster": head,
                    "signature": sign_roster(head, self.hash, self.key),
                    "view": server.view(self.place),
                }
            case "train.update":
                head = Roster(self.entries).head.encode()
                for crowd in self._crowds:
                    crowd.share(server, head)
                server.close_shares()
                return {"shares": server.delivered(self.place)}
            case "query.agree":
                for crowd in self._crowds:
                    crowd.update(server, server._shared, self._words_of)
                self.survivors = server.close_vectors()
                return {"survivors": self.survivors}
            case _:
                for crowd in self._crowds:
                    crowd.agree(server, self.survivors, server.summed)
                server.close_signatures()
                return {"signatures": server.signatures(self.place)}

    def _words_of(self, device: int) -> Words:
        words = np.random.default_rng(device).integers(0, 1 << 32, self.layout.size, np.uint64)
        found = words.astype(self.summed_words.dtype)
        self.summed_words += found
        return found

    # -- what it answers --

    def takes(self, kind: str, body: bytes, signature: bytes) -> None:
        """Take the device's answer. An update comes as the whole message."""
        server = self.server
        match kind:
            case "query.enter":
                first, second = self._crowds
                first.enter(server)
                assert server.enter(self.identity, body, signature) == self.place
                second.enter(server)
            case "query.share":
                server.take_sealed(self.place, body)
            case "train.update":
                words = decode(body, plan_hash=self.hash, layout=self.layout, ring_bits=self.plan.ring_bits)
                server.take_vector(self.place, words)
            case "query.agree":
                server.take_signature(self.place, signature)
            case _:
                server.take_shares(self.place, body)
                for crowd in self._crowds:
                    crowd.unmask(server, server._asked)

    def opened(self) -> Words:
        """Return the device's own words: the sum, less what the crowd put in."""
        return self.server.open() - self.summed_words

    # -- for lies --

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The closed roster's."""
        return self.server._closed().entries

    def shows(self, entries: Sequence[Entry], place: int | None = None) -> Fields:
        """Return what a server shows that closes the roster with these entries."""
        place = self.place if place is None else place
        tree = Roster(tuple(entries))
        head = tree.head
        others = neighbours_of(head.hash(self.hash), head.size, self.plan.neighbours, place)
        return {
            "plan_hash": self.hash.encode(),
            "roster": head.encode(),
            "signature": sign_roster(head.encode(), self.hash, self.key),
            "view": encode_view(place, [entries[other] for other in others], tree.proof({place, *others})),
        }
