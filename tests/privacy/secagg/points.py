"""Points of Curve25519 that an attacker would send: those of low order, and keys of the same effect as another.

The curve is v² = u³ + 486662·u² + u modulo 2^255 - 19 (RFC 7748, section 4.1); it has eight points of low order.
"""

from __future__ import annotations

PRIME = 2**255 - 19
A = 486662
_ORDER_EIGHT = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


def encoded(u: int) -> bytes:
    return u.to_bytes(32, "little")


LOW_ORDER = tuple(encoded(u) for u in (0, 1, *_ORDER_EIGHT, PRIME - 1))
"""Of order 2, 4 and 8, and one of order 4 on the twist: everybody agrees on nothing with them."""


def twins(key: bytes) -> list[bytes]:
    """Return the seven other keys that everybody agrees with on what they agree with this one."""
    u = int.from_bytes(key, "little")
    v = _root(u * u * u + A * u * u + u)
    found = set()
    for low in (0, 1, *_ORDER_EIGHT):
        at = _root(low * low * low + A * low * low + low)
        for other in {at, -at % PRIME}:
            slope = (v - other) * pow(u - low, -1, PRIME)
            found.add(encoded((slope * slope - A - u - low) % PRIME))
    return sorted(found)


def _root(square: int) -> int:
    """Return a square root modulo the prime, which is 5 modulo 8."""
    root = pow(square, (PRIME + 3) // 8, PRIME)
    if (root * root - square) % PRIME:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert (root * root - square) % PRIME == 0
    return root
