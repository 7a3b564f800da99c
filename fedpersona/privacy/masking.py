"""Pairwise masks: what one device hands over looks random, and only the sum over all of them can be read.

Bonawitz et al. 2017, section 4.1: two devices agree on a secret, expand it to a stream, one adds it, the other
subtracts it. There is no recovery: when a device of the roster does not answer, the masks do not cancel and the
round is begun again. Nor is there a defence yet against a server that invents the other devices; see
``docs/privacy.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpersona.errors import PlanRefused
from fedpersona.wire.message import Words

__all__ = ["LEAST_NEIGHBOURS", "MaskKey", "circle"]

LEAST_NEIGHBOURS = 8
"""A device masks with at least this many others, or not at all."""

_PRIME = 2**255 - 19  # of Curve25519 (RFC 7748, section 4.1)
_BLOCK = 1 << 17  # bytes expanded at a time: they stay in the cache, and masking needs no second vector


def circle(keys: Iterable[bytes]) -> dict[bytes, tuple[bytes, ...]]:
    """Put devices in a circle, in an order that nobody chose: keys are random. Each masks with those nearest to it.

    Returns:
        By device the keys of its neighbours, as many on either side; the relation is symmetric.
    """
    roster = sorted(keys)
    size = len(roster)
    reach = min((LEAST_NEIGHBOURS + 1) // 2, (size - 1) // 2)
    steps = [step for step in range(-reach, reach + 1) if step]
    return {key: tuple(roster[(place + step) % size] for step in steps) for place, key in enumerate(roster)}


class MaskKey:
    """One device's key for one round. It is fresh each time, and gone with the object."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def mask(self, words: Words, neighbours: Collection[bytes], context: bytes) -> None:
        """Mask the words in place, modulo their type.

        Args:
            words: the fixed-point update, shape (n,).
            neighbours: public keys of the devices to mask with, 32 bytes each; none twice, not the device's own.
            context: binds the masks to a round: devices that were given different ones get a sum that means nothing.

        Raises:
            PlanRefused: too few neighbours, one twice (also by another key of the same effect), the device itself,
                or something that is no key. The words are as they were.
        """
        keys = set(neighbours)
        if len(keys) != len(neighbours) or self.public in keys:
            raise PlanRefused("the server's roster names a device twice: it would undo its own masks")
        if len(keys) < LEAST_NEIGHBOURS:
            raise PlanRefused(f"the server gave {len(keys)} devices to mask with; this one wants {LEAST_NEIGHBOURS}")
        secrets = {other: self._secret(other) for other in sorted(keys)}
        if len({*secrets.values(), self._secret(self.public)}) != len(keys) + 1:
            # Points that differ by one of low order are different keys with the same secret (RFC 7748, section 7).
            raise PlanRefused("the server's roster names a device twice, by two keys of the same effect")
        for other, secret in secrets.items():
            self._mask_with(other, secret, words, context)

    def effect(self, other: bytes) -> bytes:
        """Return what this key and another agree on: two keys of one effect would undo each other's masks.

        A coordinator compares the keys of devices by it, with a key of its own that masks nothing.

        Raises:
            PlanRefused: the other is no key, or one that agrees on the same secret with everybody.
        """
        return self._secret(other)

    def _secret(self, other: bytes) -> bytes:
        """Return what this key and another agree on; only the canonical form of a key is one."""
        try:
            if int.from_bytes(other, "little") >= _PRIME:
                raise ValueError("another spelling of a smaller number")
            return self._private.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            raise PlanRefused("the server's roster has an entry that is no key") from None

    def _mask_with(self, other: bytes, secret: bytes, words: Words, context: bytes) -> None:
        seed = HKDF(SHA256(), 16, salt=None, info=b"fedpersona pairwise mask 1|" + context).derive(secret)
        stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()  # a seed is used once, so 0 will do
        zeros, expanded = memoryview(bytes(_BLOCK)), bytearray(_BLOCK + 15)  # room that the cipher asks for
        addend = np.frombuffer(expanded, words.dtype, _BLOCK // words.itemsize)
        combine = np.add if self.public < other else np.subtract
        for start in range(0, len(words), addend.size):
            part = words[start : start + addend.size]
            stream.update_into(zeros[: part.nbytes], expanded)
            combine(part, addend[: part.size], out=part)
