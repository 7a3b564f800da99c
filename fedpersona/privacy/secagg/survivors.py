"""Who is in the sum, as one bit a device: nobody can be both alive and dropped."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["bits_of", "encoded_bits"]


def encoded_bits(members: Collection[int], size: int) -> bytes:
    """Return one bit a place, set for the members, lowest bit first."""
    number = sum(1 << member for member in set(members))
    return number.to_bytes(-(-size // 8), "little")


def bits_of(data: bytes, size: int) -> frozenset[int] | None:
    """Return the members; None where the bytes are not one bit a place, or a bit beyond the last is set."""
    number = int.from_bytes(data, "little")
    if len(data) != -(-size // 8) or number >> size:
        return None
    return frozenset(place for place in range(size) if number >> place & 1)
