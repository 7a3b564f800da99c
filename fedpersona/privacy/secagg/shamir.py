"""Shamir's secret sharing over a prime field (Shamir 1979), and recovery where some shares are wrong (Gao 2003).

The field is that of 2^255 - 19 elements: an element has 32 bytes, and both kinds of secret of a round fit, the seed of
a self-mask and a private key of X25519. Python's integers do not run in constant time: an attacker who can time a
device's own arithmetic to the nanosecond is outside the threat model (``docs/secure-aggregation.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

__all__ = ["ELEMENT", "PRIME", "decode_element", "encode_element", "recover", "recover_robust", "split"]

PRIME = 2**255 - 19
"""Of the field; a Mersenne-like prime that is known from Curve25519, used here as a field only."""

ELEMENT = 32
"""Bytes of an element, little-endian."""


def encode_element(number: int) -> bytes:
    """Return the bytes of a field element."""
    return number.to_bytes(ELEMENT, "little")


def decode_element(data: bytes) -> int | None:
    """Return the field element of these bytes, None where they are none: each has one spelling only."""
    number = int.from_bytes(data, "little")
    return number if len(data) == ELEMENT and number < PRIME else None


def split(secret: int, points: Sequence[int], needed: int, random: Callable[[int], bytes]) -> list[int]:
    """Share a secret: any ``needed`` of the shares give it back, fewer say nothing of it.

    Args:
        secret: a field element.
        points: where the polynomial is evaluated, one share each; distinct, not 0.
        needed: t, the number of shares that recover the secret.
        random: gives so many cryptographically random bytes.

    Returns:
        The shares, in the order of the points.
    """
    if not 1 <= needed <= len(points) or len({point % PRIME for point in points} - {0}) != len(points):
        raise ValueError("a secret is shared at distinct points that are not 0, at least as many as recover it")
    # 48 bytes a coefficient: what a remainder favours is then below 2^-128.
    polynomial = [int.from_bytes(random(48), "little") % PRIME for _ in range(needed - 1)] + [secret]
    return [_evaluate(polynomial, point) for point in points]


def _evaluate(polynomial: Sequence[int], point: int) -> int:
    """Horner's rule; coefficients from the highest power to the constant."""
    value = 0
    for coefficient in polynomial:
        value = (value * point + coefficient) % PRIME
    return value


def recover(shares: Mapping[int, int]) -> int:
    """Return the constant of the polynomial through all of the shares (Lagrange's formula at 0).

    Args:
        shares: share by point: as many as recover the secret.
    """
    points = list(shares)
    secret = 0
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        secret += shares[point] * above % PRIME * pow(below, -1, PRIME)
    return secret % PRIME


def recover_robust(
    shares: Mapping[int, int], needed: int, right: Callable[[int], bool]
) -> tuple[int, frozenset[int]] | None:
    """Recover a secret although some shares may be wrong.

    Up to half of the shares beyond ``needed`` may be: Gao's decoder of Reed-Solomon codes ("A new algorithm for
    decoding Reed-Solomon codes", 2003, section 3).

    Args:
        shares: share by point.
        needed: t, as it was shared.
        right: tells whether a secret is the one that was committed to.

    Returns:
        The secret, and the points whose shares were wrong; None where it cannot be recovered.
    """
    if len(shares) < needed:
        return None
    secret = recover(dict(list(shares.items())[:needed]))
    if right(secret):
        return secret, frozenset()
    decoded = _gao(shares, needed)
    if decoded is None or not right(decoded[0]):
        return None
    wrong = {point for point, share in shares.items() if _evaluate(decoded[::-1], point) != share}
    return decoded[0], frozenset(wrong)


# -- polynomials: coefficients from the constant up, without leading zeros --


def _gao(shares: Mapping[int, int], needed: int) -> list[int] | None:
    everything = [1]
    for point in shares:
        everything = _product(everything, [-point % PRIME, 1])
    before, now = everything, _interpolated(shares, everything)
    error_before, error = [], [1]
    while 2 * (len(now) - 1) >= len(shares) + needed:
        quotient, rest = _divided(before, now)
        before, now = now, rest
        error_before, error = error, _difference(error_before, _product(quotient, error))
    polynomial, rest = _divided(now, error)
    return None if rest or len(polynomial) > needed else polynomial or [0]


def _interpolated(shares: Mapping[int, int], everything: Sequence[int]) -> list[int]:
    """Return the polynomial through all shares; ``everything`` is the product of (x - point)."""
    total = [0] * len(shares)
    for point, share in shares.items():
        basis, _ = _divided(everything, [-point % PRIME, 1])
        factor = share * pow(_evaluate(basis[::-1], point), -1, PRIME) % PRIME
        total = [(one + factor * other) % PRIME for one, other in zip(total, basis, strict=True)]
    return _trimmed(total)


def _product(one: Sequence[int], other: Sequence[int]) -> list[int]:
    found = [0] * max(0, len(one) + len(other) - 1)
    for place, factor in enumerate(one):
        for offset, coefficient in enumerate(other):
            found[place + offset] = (found[place + offset] + factor * coefficient) % PRIME
    return _trimmed(found)


def _difference(one: Sequence[int], other: Sequence[int]) -> list[int]:
    size = max(len(one), len(other))
    padded = zip([*one, *[0] * (size - len(one))], [*other, *[0] * (size - len(other))], strict=True)
    return _trimmed([(mine - theirs) % PRIME for mine, theirs in padded])


def _divided(dividend: Sequence[int], divisor: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return quotient and rest; the divisor is not 0."""
    rest = list(dividend)
    inverse = pow(divisor[-1], -1, PRIME)
    quotient = [0] * max(0, len(dividend) - len(divisor) + 1)
    for place in range(len(quotient) - 1, -1, -1):
        factor = rest[place + len(divisor) - 1] * inverse % PRIME
        quotient[place] = factor
        for offset, coefficient in enumerate(divisor):
            rest[place + offset] = (rest[place + offset] - factor * coefficient) % PRIME
    return _trimmed(quotient), _trimmed(rest)


def _trimmed(polynomial: list[int]) -> list[int]:
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial
