"""The bytes of a round: what a server shows a device, and what a device answers. Each has one form, read strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedpersona.errors import ParcelRefused, PlanRefused
from fedpersona.privacy.secagg.keys import SEALED, digest
from fedpersona.privacy.secagg.roster import Entry
from fedpersona.privacy.secagg.survivors import bits_of, encoded_bits

__all__ = [
    "agreed",
    "decode_delivered",
    "decode_sealed",
    "decode_shares",
    "decode_signatures",
    "decode_view",
    "encode_delivered",
    "encode_shares",
    "encode_signatures",
    "encode_view",
]

_PLACE = 4
_COUNT = 2
_COMMITMENT = 32
_ELEMENT = 32
_SIGNATURE = 64
_OTHER_FORM = "the server's message is of another form than agreed"


def encode_view(place: int, entries: Sequence[Entry], proof: bytes) -> bytes:
    """Return what one device is shown of the roster: its place, its neighbours by increasing place, the proof."""
    head = place.to_bytes(_PLACE, "little") + len(entries).to_bytes(_COUNT, "little")
    return head + b"".join(entry.encode() for entry in entries) + proof


def decode_view(data: bytes) -> tuple[int, list[Entry], bytes]:
    """Return place, neighbours and proof.

    Raises:
        PlanRefused: the bytes are of another form.
    """
    start = _PLACE + _COUNT
    count = int.from_bytes(data[_PLACE:start], "little")
    end = start + count * Entry.SIZE
    if len(data) < end or not count:
        raise PlanRefused(_OTHER_FORM)
    entries = [Entry.decode(data[at : at + Entry.SIZE]) for at in range(start, end, Entry.SIZE)]
    return int.from_bytes(data[:_PLACE], "little"), entries, data[end:]


def decode_sealed(data: bytes, neighbours: Sequence[int]) -> tuple[bytes, dict[int, bytes]]:
    """Return a device's commitment, and what it sealed for each of its neighbours.

    Raises:
        ParcelRefused: there is not one for each.
    """
    if len(data) != _COMMITMENT + len(neighbours) * SEALED:
        raise ParcelRefused("sealed shares of another number or size than the device has neighbours")
    pieces = _pieces(data[_COMMITMENT:], SEALED)
    return data[:_COMMITMENT], dict(zip(neighbours, pieces, strict=True))


def encode_delivered(sealed: Mapping[int, bytes], neighbours: Sequence[int]) -> bytes:
    """Return what neighbours sealed for one device, and which of them did."""
    return _some(sealed, neighbours)


def decode_delivered(data: bytes, neighbours: Sequence[int]) -> dict[int, bytes]:
    """Return what neighbours sealed for this device, by place.

    Raises:
        PlanRefused: the bytes are of another form.
    """
    found = _decode_some(data, neighbours, SEALED)
    if found is None:
        raise PlanRefused(_OTHER_FORM)
    return found


def agreed(roster: bytes, survivors: bytes) -> bytes:
    """Return what devices sign about who is in the sum."""
    return digest(b"survivors", roster, survivors)


def encode_signatures(signatures: Mapping[int, bytes]) -> bytes:
    """Return neighbours' signatures, each after the place of its device."""
    return b"".join(place.to_bytes(_PLACE, "little") + signature for place, signature in signatures.items())


def decode_signatures(data: bytes) -> dict[int, bytes]:
    """Return signatures by place.

    Raises:
        PlanRefused: the bytes are of another form, or a device is in them twice.
    """
    size = _PLACE + _SIGNATURE
    pieces = _pieces(data, size)
    found = {int.from_bytes(piece[:_PLACE], "little"): piece[_PLACE:] for piece in pieces}
    if len(data) % size or len(found) != len(pieces):
        raise PlanRefused(_OTHER_FORM)
    return found


def encode_shares(shares: Mapping[int, bytes], neighbours: Sequence[int]) -> bytes:
    """Return one share of each neighbour that there is one of."""
    return _some(shares, neighbours)


def decode_shares(data: bytes, neighbours: Sequence[int]) -> dict[int, bytes]:
    """Return a device's shares of its neighbours, by place.

    Raises:
        ParcelRefused: the bytes are of another form.
    """
    found = _decode_some(data, neighbours, _ELEMENT)
    if found is None:
        raise ParcelRefused("shares of another form than agreed")
    return found


def _some(values: Mapping[int, bytes], neighbours: Sequence[int]) -> bytes:
    """Return one bit a neighbour that says whether it has a value, and the values."""
    present = [slot for slot, place in enumerate(neighbours) if place in values]
    return encoded_bits(present, len(neighbours)) + b"".join(values[neighbours[slot]] for slot in present)


def _decode_some(data: bytes, neighbours: Sequence[int], size: int) -> dict[int, bytes] | None:
    start = -(-len(neighbours) // 8)
    slots = bits_of(data[:start], len(neighbours))
    if slots is None or len(data) != start + len(slots) * size:
        return None
    return {neighbours[slot]: piece for slot, piece in zip(sorted(slots), _pieces(data[start:], size), strict=True)}


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
