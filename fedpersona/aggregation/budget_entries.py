"""The entries of a budget's account: signed lines, each of which names the one before.

An entry is a line of canonical JSON with the operator's Ed25519 signature in it, over all its other fields.
``previous`` is the SHA-256 of the line before, so that the last line stands for all of them. There are three kinds,
and none of them lowers what was spent.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.errors import ConfigError
from fedpersona.privacy.protection import LARGEST_EPSILON

__all__ = ["FIRST", "Changed", "Entry", "Opened", "Said", "Spent", "read_entry", "share_of", "signed_entry"]

FIRST = "0" * 64
"""What the first entry names as the one before."""

_FORMAT = "fedpersona budget 1"
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGEST_NUMBER = 1 << 63
_LONGEST_REASON = 500


def share_of(multiplier: float) -> float:
    """Return what a release adds to the square of μ, by its noise multiplier; infinity for none."""
    mu = 1.0 / multiplier if multiplier > 0.0 else math.inf
    return mu * mu


@dataclass(frozen=True)
class Opened:
    """The first entry: what the federation may cost a person over its life."""

    kind: ClassVar[str] = "opened"
    federation: str
    limit: float
    """The largest ε."""
    delta: float
    """The δ that belongs to it; it never changes."""
    earlier: int
    """Sums that were released before, of which nothing is counted here."""

    def __post_init__(self) -> None:
        _check_limit(self.limit)
        if not 0.0 < self.delta < 1.0:
            raise ConfigError(f"delta is a number between 0 and 1, not {self.delta!r}")
        _check_whole("earlier", self.earlier, 0)


@dataclass(frozen=True)
class Spent:
    """A sum that is released: written before it is."""

    kind: ClassVar[str] = "spent"
    serial: int
    """Of the plan, which is used once."""
    plan: str
    """SHA-256 of the plan, hexadecimal."""
    training: int
    round: int
    noise: str
    """Who adds it."""
    multiplier: float
    """Deviation of the noise over ``clip``."""
    clip: float
    """Longest update."""
    separation: int
    """A device is in at most one of so many rounds that follow each other."""
    epsilon: float
    """What all releases up to this one cost whoever was in as many as possible."""

    def __post_init__(self) -> None:
        for name in ("serial", "round", "separation"):
            _check_whole(name, getattr(self, name), 1)
        _check_whole("training", self.training, 0)
        if not _HASH.fullmatch(self.plan):
            raise ConfigError("a plan is named by its SHA-256")
        if self.noise not in ("central", "distributed"):
            raise ConfigError(f"noise is 'central' or 'distributed', not {self.noise[:40]!r}")
        for name in ("multiplier", "clip", "epsilon"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ConfigError(f"{name} must be positive and finite, not {value!r}: nothing is released for nothing")
        if not 0.0 < self.share < math.inf:
            raise ConfigError(f"a noise multiplier of {self.multiplier!r} costs nothing that can be counted")

    @property
    def share(self) -> float:
        """What it adds to the square of μ."""
        return share_of(self.multiplier)


@dataclass(frozen=True)
class Changed:
    """Another limit, as the operator decided."""

    kind: ClassVar[str] = "limit"
    before: float
    limit: float
    reason: str

    def __post_init__(self) -> None:
        _check_limit(self.before)
        _check_limit(self.limit)
        if self.limit == self.before:
            raise ConfigError(f"the limit is {self.limit:g} already: nothing is to be changed")
        if not self.reason.strip() or len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise ConfigError(f"the reason is one line of up to {_LONGEST_REASON} characters: everyone can read it")


Said: TypeAlias = "Opened | Spent | Changed"

_KINDS: Mapping[str, type[Opened] | type[Spent] | type[Changed]] = {
    kind.kind: kind for kind in (Opened, Spent, Changed)
}
_TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float}


@dataclass(frozen=True)
class Entry:
    """One line of the account."""

    number: int
    """Counted from 1."""
    at: int
    """When it was written, Unix seconds, by a clock that may have been wrong: the order is that of the numbers."""
    account: str
    """Names the account, at random."""
    previous: str
    """Hash of the entry before."""
    said: Said
    line: bytes
    """As it stands in the file, with its line feed."""

    @property
    def hash(self) -> str:
        """SHA-256 of the line, hexadecimal."""
        return hashlib.sha256(self.line).hexdigest()


def signed_entry(said: Said, key: Ed25519PrivateKey, *, number: int, at: int, account: str, previous: str) -> Entry:
    """Return an entry under the operator's signature."""
    body = {
        "format": _FORMAT,
        "number": number,
        "at": at,
        "account": account,
        "previous": previous,
        "kind": said.kind,
        **asdict(said),
    }
    line = _canonical({**body, "signature": key.sign(_canonical(body)).hex()}) + b"\n"
    return Entry(number, at, account, previous, said, line)


def read_entry(line: bytes, operator: bytes) -> Entry:
    """Read a line, and check its form and its signature.

    Args:
        line: with its line feed.
        operator: the operator's public key, 32 bytes.

    Raises:
        ValueError: it is no entry, or not as it was signed; in words to follow "entry 3".
    """
    found = _parsed(line)
    signature = found.pop("signature")
    try:
        Ed25519PublicKey.from_public_bytes(operator).verify(bytes.fromhex(signature), _canonical(found))
    except (InvalidSignature, ValueError):
        raise ValueError("was changed, or another key than the operator's signed it") from None
    head = {name: found.pop(name) for name in ("format", "number", "at", "account", "previous", "kind")}
    kind = _KINDS.get(head["kind"])
    if head["format"] != _FORMAT or kind is None:
        raise ValueError("is of a form that this version does not read: update fedpersona")
    wanted = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    if set(found) != set(wanted) or any(type(found[name]) is not wanted[name] for name in wanted):
        raise ValueError(f"is no entry of the kind '{kind.kind}'")
    try:
        said = kind(**found)
    except ConfigError as error:
        raise ValueError(f"cannot be ({error})") from None
    return Entry(head["number"], head["at"], head["account"], head["previous"], said, line)


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the fields of a line that is canonical, and has those that every entry has."""
    try:
        found = json.loads(line)
        canonical = isinstance(found, dict) and _canonical(found) + b"\n" == line
    except (ValueError, RecursionError):
        canonical = False
    common = {"format": str, "number": int, "at": int, "account": str, "previous": str, "kind": str, "signature": str}
    if not canonical or any(type(found.get(name)) is not kind for name, kind in common.items()):
        raise ValueError("is no entry of an account")
    return dict(found)


def _canonical(fields_: Mapping[str, object]) -> bytes:
    return json.dumps(fields_, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _check_limit(limit: float) -> None:
    if not 0.0 < limit <= LARGEST_EPSILON:
        raise ConfigError(f"a limit is an epsilon above 0, and {LARGEST_EPSILON:g} at most, not {limit!r}")


def _check_whole(name: str, value: int, least: int) -> None:
    if not least <= value < _LARGEST_NUMBER:
        raise ConfigError(f"{name} is a whole number from {least}, not {value!r}")
