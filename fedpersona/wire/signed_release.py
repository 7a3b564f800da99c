"""A model that was promoted, under the operator's signature: what devices fetch to make playlists with.

The file is a JSON header line, the Ed25519 signature over it in hexadecimal, a line of its own, and the packed model
(:mod:`fedpersona.taste.model_file`), whose SHA-256 the header names.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.errors import OtherFederation, PlanForged, PlanRefused

__all__ = ["ReleaseNote", "seal_release", "unseal_release"]

_FORMAT = "fedpersona release 1"
_LONGEST_HEADER = 4096
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ReleaseNote:
    """What the operator signs about a model."""

    federation: str
    version: int
    """Its number in the operator's registry."""
    issued: int
    """When it was promoted, Unix seconds; a device takes none that is older than the one it has."""
    devices: int
    """From how many devices it learned, at most, in a round."""
    rounds: int
    body: str
    """SHA-256 of the packed model, hexadecimal."""


def seal_release(note: ReleaseNote, packed: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signed file."""
    header = json.dumps({"format": _FORMAT, **asdict(note)}, sort_keys=True, separators=(",", ":")).encode()
    return header + b"\n" + key.sign(header).hex().encode() + b"\n" + packed


def unseal_release(data: bytes, key: bytes, federation: str) -> tuple[ReleaseNote, bytes]:
    """Check a signed model; return what the operator says about it, and the packed model.

    Raises:
        PlanForged: another key signed it, or it was changed since.
        OtherFederation: it is for another federation.
        PlanRefused: it is no such file.
    """
    header, _, rest = data[: _LONGEST_HEADER + 200].partition(b"\n")
    signature = rest.partition(b"\n")[0]
    start = len(header) + len(signature) + 2
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature.decode("ascii")), header)
        found = json.loads(header)
        known = found.pop("format") == _FORMAT
        note = ReleaseNote(**found)
    except InvalidSignature:
        raise PlanForged("the server's model is not signed by the operator's key: it is not used") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise PlanRefused("the server's model is no signed model of fedpersona: it is not used") from None
    if not known or not _well(note):
        raise PlanRefused("the server's model is of a form that this version does not read: update fedpersona")
    packed = data[start:]
    if hashlib.sha256(packed).hexdigest() != note.body:
        raise PlanForged("the server's model was changed or cut off after it was signed: it is not used")
    if note.federation != federation:
        raise OtherFederation(
            f"the server's model is one of the federation '{note.federation[:80]}', not '{federation}'"
        )
    return note, packed


def _well(note: ReleaseNote) -> bool:
    numbers = (note.version, note.issued, note.devices, note.rounds)
    texts = isinstance(note.federation, str) and isinstance(note.body, str) and bool(_HASH.fullmatch(note.body))
    return texts and all(type(number) is int and 0 <= number < 2**53 for number in numbers)
