"""A catalogue as one signed file: what a server publishes and every device checks.

The file is UTF-8 text, each line ended by a newline:

1. the header, a JSON object: ``format`` (``fedpersona catalogue 1``), ``kind``, ``items`` (how many), ``linked``
   (whether items have links), ``version`` (:attr:`fedpersona.catalogue.Catalogue.version`), ``issued`` (Unix
   seconds), ``key`` (the Ed25519 public key, hexadecimal) and ``body`` (SHA-256 of all lines from the third on,
   hexadecimal);
2. the Ed25519 signature over the first line without its newline, in lower-case hexadecimal;
3. and on: one item a line, a JSON list ``[id, title, artist, [tags], [links]]``.

So the signature covers every byte. Whether a file is older than the one a device has is not known here: the device
compares ``issued``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SignatureInvalid

__all__ = ["LONGEST_NAME", "MOST_ITEMS", "SealedCatalogue", "seal", "signer", "unseal"]

MOST_ITEMS = 5_000_000
"""Items of a catalogue, at most."""
LONGEST_NAME = 1000
"""Characters of an id, a title, an artist, a tag or a link, at most."""

_FORMAT = "fedpersona catalogue 1"
_PLACE = "catalogue file"
_MOST_TAGS = 100  # and links, of one item
_LONGEST_HEADER = 4096  # bytes
_LATEST = 1 << 53  # seconds: whole numbers that every JSON reader keeps exact
_CHUNK = 200  # lines read at once: faster than one, and the garbage collector never sees a catalogue of lists
_KIND = re.compile(r"[a-z]{1,32}")
_HASH = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


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
        catalogue: what to publish; its kind is one word of lower-case letters.
        issued: Unix seconds, UTC.
        key: the operator's signing key.

    Raises:
        DataError: it holds something that no device would accept.
    """
    if not (type(issued) is int and 0 <= issued < _LATEST):
        raise DataError(f"issued is {issued!r}: give whole Unix seconds", place=_PLACE)
    if not _KIND.fullmatch(catalogue.kind):
        raise DataError(f"the kind is '{catalogue.kind}': give one word of lower-case letters", place=_PLACE)
    if len(catalogue) > MOST_ITEMS:
        raise DataError(f"has {len(catalogue):,} items: a file holds {MOST_ITEMS:,} at most", place=_PLACE)
    links = catalogue.links or ((),) * len(catalogue)
    _check_columns(catalogue.ids, catalogue.titles, catalogue.artists, catalogue.tags, links)
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
        separators=(",", ":"),
    ).encode()
    return b"\n".join((header, key.sign(header).hex().encode(), body))


def signer(data: bytes) -> bytes:
    """Return the public key that a file says it is signed with. Only :func:`unseal` tells whether that is so.

    Raises:
        DataError: it is no catalogue file, or of a newer format.
    """
    return bytes.fromhex(_header(data)["key"])


def unseal(data: bytes, keys: Collection[bytes]) -> SealedCatalogue:
    """Check a file and return what it holds.

    Args:
        data: the whole file.
        keys: Ed25519 public keys that are trusted, 32 bytes each.

    Raises:
        SignatureInvalid: none of them signed it, or a byte was changed since.
        DataError: it is no catalogue file, is cut off, of a newer format, or does not hold what its header says.
    """
    header = _header(data)
    key = bytes.fromhex(header["key"])
    if key not in keys:
        raise SignatureInvalid("is signed by a key that this device does not trust: refused", place=_PLACE)
    first, _, rest = data.partition(b"\n")
    signature, _, body = rest.partition(b"\n")
    _check_signature(first, signature, key)
    _check_body(header, body)
    catalogue = _catalogue(header, body)
    if catalogue.version != header["version"]:
        raise DataError("its version is not that of its items: the operator must seal it again", place=_PLACE)
    return SealedCatalogue(catalogue, header["issued"], key)


def _header(data: bytes) -> dict[str, Any]:
    """Return the first line's fields, each of its type and in its range; nothing is verified yet."""
    line = data[:_LONGEST_HEADER].partition(b"\n")[0]
    try:
        header = json.loads(line)
        known = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError("is no fedpersona catalogue: give the file that the operator publishes", place=_PLACE) from None
    if known != _FORMAT:
        raise DataError(f"is of a format that this version does not read (it reads '{_FORMAT}'): update", place=_PLACE)
    if not _header_fits(header):
        raise DataError("its header is not what it should be: the operator must seal it again", place=_PLACE)
    return dict(header)


def _header_fits(header: dict[str, Any]) -> bool:
    hashes = all(
        isinstance(text := header.get(name), str) and _HASH.fullmatch(text) for name in ("key", "version", "body")
    )
    kind, items, issued = header.get("kind"), header.get("items"), header.get("issued")
    return bool(
        hashes
        and isinstance(header.get("linked"), bool)
        and isinstance(kind, str)
        and _KIND.fullmatch(kind)
        and type(items) is int  # and no bool
        and 1 <= items <= MOST_ITEMS
        and type(issued) is int
        and 0 <= issued < _LATEST
    )


def _check_signature(header: bytes, signature: bytes, key: bytes) -> None:
    try:
        raw = bytes.fromhex(signature.decode("ascii"))
        Ed25519PublicKey.from_public_bytes(key).verify(raw, header)
        exact = raw.hex().encode() == signature
    except (InvalidSignature, ValueError):
        exact = False
    if not exact:
        raise SignatureInvalid("the signature does not fit: fetch the file again", place=_PLACE)


def _check_body(header: dict[str, Any], body: bytes) -> None:
    whole = hashlib.sha256(body).hexdigest() == header["body"]
    lines = body.count(b"\n")
    if not whole and (lines < header["items"] or not body.endswith(b"\n")):
        raise DataError(f"is cut off after {lines:,} of {header['items']:,} items: fetch it again", place=_PLACE)
    if not whole:
        raise SignatureInvalid("its items were changed: fetch the file again", place=_PLACE)
    if lines != header["items"]:
        raise DataError(
            f"has {lines:,} items but its header says {header['items']:,}: the operator must seal it again",
            place=_PLACE,
        )


def _catalogue(header: dict[str, Any], body: bytes) -> Catalogue:
    try:
        ids, titles, artists, tags, links = _columns(body.split(b"\n")[:-1])
    except (ValueError, TypeError, RecursionError):
        raise DataError("an item is not a list of five fields: the operator must seal it again", place=_PLACE) from None
    _check_columns(ids, titles, artists, tags, links)
    if not header["linked"] and any(links):
        raise DataError("items have links but its header says none: the operator must seal it again", place=_PLACE)
    return Catalogue(ids, titles, artists, tags, header["kind"], links if header["linked"] else ())


def _columns(lines: list[bytes]) -> tuple[tuple[Any, ...], ...]:
    """Read ids, titles, artists, tags and links, a few hundred lines as one JSON list."""
    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    once: dict[str, str] = {}  # artists and tags come again and again: a phone keeps each text once
    for start in range(0, len(lines), _CHUNK):
        chunk = lines[start : start + _CHUNK]
        rows = json.loads(b"[" + b",".join(chunk) + b"]")
        if len(rows) != len(chunk):
            raise ValueError("not one item a line")
        *names, tags, links = zip(*rows, strict=True)
        if len(names) != 3 or set(map(type, (*rows, *tags, *links))) != {list}:
            raise TypeError("an item is a list of three texts and two lists")
        artists = (_same(artist, once) for artist in names[2])
        tagged = (tuple(_same(tag, once) for tag in few) for few in tags)
        for column, part in zip(columns, (*names[:2], artists, tagged, map(tuple, links)), strict=True):
            column.extend(part)
    return tuple(map(tuple, columns))


def _same(text: Any, once: dict[str, str]) -> Any:
    return once.setdefault(text, text) if isinstance(text, str) else text


def _check_columns(
    ids: Sequence[str],
    titles: Sequence[str],
    artists: Sequence[str],
    tags: Sequence[tuple[str, ...]],
    links: Sequence[tuple[str, ...]],
) -> None:
    """Check that all fields are texts, not too long, without control characters: they are shown to people."""
    if max(map(len, tags)) > _MOST_TAGS or max(map(len, links)) > _MOST_TAGS:
        raise DataError(f"an item has over {_MOST_TAGS} tags or links", place=_PLACE)
    _check_texts("id", ids)
    _check_texts("title", titles)
    _check_texts("artist", artists)
    _check_texts("tag", chain.from_iterable(tags), repeated=True)
    _check_texts("link", chain.from_iterable(links), repeated=True)
    if not all(ids):
        raise DataError("an item has an empty id: give each its own", place=_PLACE)
    if len(set(ids)) != len(ids):
        raise DataError("an item id appears twice: give each its own", place=_PLACE)


def _check_texts(name: str, found: Iterable[str], *, repeated: bool = False) -> None:
    try:
        texts: Collection[str] = set(found) if repeated else tuple(found)
        whole = "".join(texts)
    except TypeError:
        raise DataError(f"a field '{name}' is no text: the operator must seal it again", place=_PLACE) from None
    if max(map(len, texts), default=0) > LONGEST_NAME:
        raise DataError(f"a field '{name}' is over {LONGEST_NAME} characters: shorten it", place=_PLACE)
    if not whole.isprintable() and _CONTROL.search(whole):  # the first is the quicker test, and the stricter
        raise DataError(f"a field '{name}' has a control character: remove it", place=_PLACE)
