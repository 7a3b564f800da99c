"""The closed roster: who takes part in a round, with which keys, under one hash that all devices agree on.

A Merkle tree (RFC 6962, section 2.1) over the entries lets each device check that those it is shown, its neighbours,
stand at their places in the one roster that everybody's masks are bound to, without the other entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedpersona.errors import PlanRefused
from fedpersona.privacy.secagg.keys import digest

__all__ = ["HEAD", "Entry", "Head", "Roster", "root_of"]

_HASH = 32
HEAD = 4 + _HASH
"""Bytes of a head."""


@dataclass(frozen=True)
class Entry:
    """One device of a roster: A1 of Bell et al. 2020, algorithm 3."""

    identity: bytes
    """Its enrolled Ed25519 key, 32 bytes."""
    keys: bytes
    """The public halves of ``c`` and ``s``, 64 bytes."""
    signature: bytes
    """Of the keys, for this plan, by the identity; 64 bytes."""

    SIZE = 160

    def encode(self) -> bytes:
        """Return the 160 bytes of the entry."""
        return self.identity + self.keys + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Entry:
        """Return the entry of these 160 bytes."""
        return cls(data[:32], data[32:96], data[96:])

    @property
    def c(self) -> bytes:
        """Public key that shares for this device are sealed with."""
        return self.keys[:32]

    @property
    def s(self) -> bytes:
        """Public key that masks with this device are made with."""
        return self.keys[32:]

    @property
    def leaf(self) -> bytes:
        """Hash of the entry in the tree. The signature is left out: a device knows its own entry without it."""
        return digest(b"leaf", self.identity, self.keys)


@dataclass(frozen=True)
class Head:
    """What everybody is shown of a roster: the operator signs it."""

    size: int
    """n."""
    root: bytes
    """Of the tree."""

    def encode(self) -> bytes:
        """Return the 36 bytes of the head."""
        return self.size.to_bytes(4, "little") + self.root

    @classmethod
    def decode(cls, data: bytes) -> Head:
        """Read a head.

        Raises:
            PlanRefused: it has another length.
        """
        if len(data) != HEAD:
            raise PlanRefused("the server's roster is of another form than agreed")
        return cls(int.from_bytes(data[:4], "little"), data[4:])

    def hash(self, plan_hash: str) -> bytes:
        """Return the hash of the roster of a plan: all masks, seals and signatures of the round are bound to it."""
        return digest(b"roster", plan_hash.encode("ascii"), self.encode())


@dataclass(frozen=True)
class Roster:
    """The roster as the server has it: all entries."""

    entries: tuple[Entry, ...]
    levels: tuple[tuple[bytes, ...], ...] = field(init=False, repr=False)
    """Of the tree, from the leaves to the root."""

    def __post_init__(self) -> None:
        levels = [tuple(entry.leaf for entry in self.entries)]
        while len(levels[-1]) > 1:
            levels.append(_above(levels[-1]))
        object.__setattr__(self, "levels", tuple(levels))

    @property
    def head(self) -> Head:
        """What everybody is shown."""
        return Head(len(self.entries), self.levels[-1][0])

    def proof(self, places: Iterable[int]) -> bytes:
        """Return the hashes that show that the entries of some places stand there, for :func:`root_of`."""
        known, found = set(places), []
        for level in self.levels[:-1]:
            for place in sorted(known):
                other = place ^ 1
                if other not in known and other < len(level):
                    found.append(level[other])
            known = {place // 2 for place in known}
        return b"".join(found)


def root_of(leaves: Mapping[int, bytes], size: int, proof: bytes) -> bytes | None:
    """Return the root of the tree in which these leaves stand at their places; None where the proof does not fit.

    Args:
        leaves: hashes by place; at least one.
        size: how many leaves the tree has.
        proof: of :meth:`Roster.proof`, for the same places.
    """
    if not leaves or not all(0 <= place < size for place in leaves):
        return None
    level, width, start = dict(leaves), size, 0
    while width > 1:
        above: dict[int, bytes] = {}
        for place in sorted(level):
            if place // 2 in above:
                continue
            other = place ^ 1
            if other >= width:
                above[place // 2] = level[place]
                continue
            if other not in level:
                level[other] = proof[start : start + _HASH]
                start += _HASH
                if start > len(proof):
                    return None
            above[place // 2] = _node(level[place & ~1], level[place | 1])
        level, width = above, -(-width // 2)
    return level[0] if start == len(proof) else None


def _above(level: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the next level: a node without a partner rises as it is."""
    pairs = [_node(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
    return (*pairs, *level[len(level) & ~1 :])


def _node(left: bytes, right: bytes) -> bytes:
    return digest(b"node", left, right)
