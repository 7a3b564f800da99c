"""A catalogue as one signed file: what a server publishes and every device checks.

The first line is a JSON header, the second its Ed25519 signature in hexadecimal, each further line one item as a
JSON list ``[id, title, artist, [tags], [links]]``. The header holds the SHA-256 of all item lines, so the
signature covers every byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SignatureInvalid

__all__ = ["SealedCatalogue", "seal", "signer", "unseal"]

_FORMAT = "fedpersona catalogue 1"
_MOST_ITEMS = 5_000_000
_PLACE = "catalogue file"


@dataclass(frozen=True)
class SealedCatalogue:
    """A catalogue whose signature held."""

    catalogue: Catalogue
    issued: int
    """Unix seconds, UTC: of two versions the later counts."""
    key: bytes
    """Ed25519 public key that signed it, 32 bytes."""


def seal(catalogue: Catalogue, *, issued: int, key: Ed25519PrivateKey) -> bytes:
    """Return the signed file.

    Args:
        catalogue: what to publish.
        issued: Unix seconds, UTC.
        key: the operator's signing key.
    """
    links = catalogue.links or ((),) * len(catalogue)
    rows = zip(catalogue.ids, catalogue.titles, catalogue.artists, catalogue.tags, links, strict=True)
    body = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows).encode()
    header = json.dumps(
        {
            "format": _FORMAT,
            "kind": catalogue.kind,
            "items": len(catalogue),
            "linked": bool(catalogue.links),
            "version": catalogue.version,
            "issued": issued,
            "key": key.public_key().public_bytes_raw().hex(),
            "body": hashlib.sha256(body).hexdigest(),
        },
        sort_keys=True,
    ).encode()
    return b"\n".join((header, key.sign(header).hex().encode(), body))


def signer(data: bytes) -> bytes:
    """Return the public key that a file says it is signed with. Only :func:`unseal` tells whether that is so.

    Raises:
        DataError: it is no catalogue file.
    """
    return bytes.fromhex(_header(data.split(b"\n", 1)[0])["key"])


def unseal(data: bytes, keys: Collection[bytes]) -> SealedCatalogue:
    """Check a file and return what it holds.

    Args:
        data: the whole file.
        keys: Ed25519 public keys that are trusted, 32 bytes each.

    Raises:
        SignatureInvalid: none of them signed it, or a byte was changed since.
        DataError: it is no catalogue file, of a newer format, or does not hold what its header says.
    """
    first, _, rest = data.partition(b"\n")
    signature, _, body = rest.partition(b"\n")
    header = _header(first)
    key = bytes.fromhex(header["key"])
    if key not in keys:
        raise SignatureInvalid("is signed by a key that this device does not trust: refused", place=_PLACE)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature.decode("ascii")), first)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("the signature does not fit: fetch the file again", place=_PLACE) from None
    if hashlib.sha256(body).hexdigest() != header["body"]:
        raise SignatureInvalid("items were changed or cut off: fetch the file again", place=_PLACE)
    catalogue = _catalogue(header, body)
    if catalogue.version != header["version"]:
        raise DataError("its version is not that of its items: the operator must seal it again", place=_PLACE)
    return SealedCatalogue(catalogue, int(header["issued"]), key)


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        known = header["format"]
        fit = (
            known == _FORMAT
            and 1 <= header["items"] <= _MOST_ITEMS
            and isinstance(header["issued"], int)
            and isinstance(header["kind"], str)
            and len(bytes.fromhex(header["key"])) == 32
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError("is no fedpersona catalogue: give the file that the operator publishes", place=_PLACE) from None
    if not fit:
        raise DataError(f"is of a form that this version does not read: it reads '{_FORMAT}'", place=_PLACE)
    return dict(header)


def _catalogue(header: dict[str, Any], body: bytes) -> Catalogue:
    try:
        # One array is read many times faster than a line at a time.
        rows = json.loads(b"[" + body.strip().replace(b"\n", b",") + b"]")
        if len(rows) != header["items"]:
            raise DataError(f"has {len(rows):,} items, its header says {header['items']:,}", place=_PLACE)
        ids, titles, artists, tags, links = zip(*rows, strict=True)
        return Catalogue.create(
            ids,
            titles=titles,
            artists=artists,
            tags=tags,
            kind=header["kind"],
            links=links if header["linked"] else None,
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"its items cannot be read ({error}): fetch the file again", place=_PLACE) from None
