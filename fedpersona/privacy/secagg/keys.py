"""Keys of one round: two pairs of X25519 a device, what two devices agree on, and what is derived from it.

``c`` encrypts shares, ``s`` makes masks: the names of Bell et al. 2020, algorithm 2. There are two because the private
half of ``s`` becomes known when a device leaves; its shares of others stay closed.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpersona.privacy.secagg.shamir import PRIME

__all__ = [
    "SEALED",
    "PrivateKey",
    "agree",
    "committed",
    "digest",
    "expand_key",
    "open_sealed",
    "seal",
    "self_seed",
]

_TAG = 16
SEALED = 64 + _TAG
"""Bytes of two sealed shares."""

_DOMAIN = b"fedpersona secure aggregation 1\n"
_NONCE = bytes(12)  # each key seals one message only


class PrivateKey:
    """One X25519 key pair. The private half is kept as the number that is shared, so that it can be recovered."""

    def __init__(self, scalar: int) -> None:
        self.scalar = scalar
        self._key = X25519PrivateKey.from_private_bytes(scalar.to_bytes(32, "little"))
        self.public: bytes = self._key.public_key().public_bytes_raw()

    @classmethod
    def draw(cls, random: Callable[[int], bytes]) -> PrivateKey:
        """Return a new key: a random number, clamped as RFC 7748, section 5, says, that is an element of the field."""
        while True:
            scalar = int.from_bytes(random(32), "little") & ~7 & (1 << 255) - 1 | 1 << 254
            if scalar < PRIME:
                return cls(scalar)

    def exchange(self, other: bytes) -> bytes | None:
        """Return what this key and another agree on, None where the other is no key, or has another spelling."""
        try:
            if int.from_bytes(other, "little") >= PRIME:
                return None
            return self._key.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            return None


def digest(*parts: bytes) -> bytes:
    """Return the SHA-256 of some parts; their lengths belong to it, so that no two lists of parts look alike."""
    running = Hash(SHA256())
    running.update(_DOMAIN)
    for part in parts:
        running.update(len(part).to_bytes(8, "little"))
        running.update(part)
    return running.finalize()


def expand_key(secret: bytes, purpose: bytes, size: int) -> bytes:
    """Derive a key for one purpose from a secret (HKDF-SHA-256, RFC 5869)."""
    return HKDF(SHA256(), size, salt=None, info=_DOMAIN + purpose).derive(secret)


def agree(secret: bytes, roster: bytes) -> bytes:
    """Return the seed of the mask of two devices, bound to the roster, which is bound to plan, round and model."""
    return expand_key(secret, b"pairwise mask\n" + roster, 16)


def self_seed(number: int, roster: bytes) -> bytes:
    """Return the seed of a device's own mask, from ``b``."""
    return expand_key(number.to_bytes(32, "little"), b"self mask\n" + roster, 16)


def committed(number: int, roster: bytes) -> bytes:
    """Return the commitment to ``b``: it shows whether what was recovered is what was shared.

    ``b`` has 255 bits that nobody can guess, so its hash tells nothing of it.
    """
    return digest(b"self mask commitment", roster, number.to_bytes(32, "little"))


def seal(secret: bytes, roster: bytes, sender: int, receiver: int, shares: bytes) -> bytes:
    """Encrypt the two shares of one device for another (AES-128-GCM).

    Args:
        secret: what the two ``c`` keys agree on.
        roster: hash of the closed roster.
        sender: place of the device whose secrets are shared.
        receiver: place of the one that is to hold them.
        shares: of ``b`` and of the private ``s``, 64 bytes.
    """
    return AESGCM(_sealing_key(secret, roster, sender, receiver)).encrypt(_NONCE, shares, None)


def open_sealed(secret: bytes, roster: bytes, sender: int, receiver: int, sealed: bytes) -> bytes | None:
    """Return the two shares, None where they were not sealed by this sender for this receiver in this round."""
    try:
        return AESGCM(_sealing_key(secret, roster, sender, receiver)).decrypt(_NONCE, sealed, None)
    except InvalidTag:
        return None


def _sealing_key(secret: bytes, roster: bytes, sender: int, receiver: int) -> bytes:
    """Return a key for one message: of this sender, to this receiver, in this round."""
    direction = sender.to_bytes(4, "little") + receiver.to_bytes(4, "little")
    return expand_key(secret, b"shares\n" + roster + direction, 16)
