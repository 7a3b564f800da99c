"""A key wrapped by a passphrase: scrypt (RFC 7914), then AES-256-GCM."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from fedpersona.errors import KeyUnavailable, WrongKey

__all__ = ["Wrapped", "unwrap", "wrap"]

_N = 1 << 15  # 32 MiB and about 0.1 s, each time a device is opened
_R, _P = 8, 1
_LARGEST_N = 1 << 17  # a hostile file must not eat the memory: 128 MiB
_LEAST_N = 1 << 14


@dataclass(frozen=True)
class Wrapped:
    """A wrapped key and how it was wrapped; without the passphrase it tells nothing."""

    salt: bytes
    nonce: bytes
    sealed: bytes
    n: int = _N
    r: int = _R
    p: int = _P

    def __post_init__(self) -> None:
        fitting = len(self.salt) == 16 and len(self.nonce) == 12 and len(self.sealed) == 48
        if not (fitting and self.r == _R and self.p == _P and self.n in _costs()):
            raise ValueError("not a key that was wrapped here")


def _costs() -> tuple[int, ...]:
    return tuple(1 << bits for bits in range(_LEAST_N.bit_length() - 1, _LARGEST_N.bit_length()))


def wrap(secret: bytes, passphrase: bytes, store: str) -> Wrapped:
    """Wrap 32 bytes for the store of this id."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    sealed = AESGCM(_derived(passphrase, salt, _N)).encrypt(nonce, secret, store.encode())
    return Wrapped(salt, nonce, sealed)


def unwrap(wrapped: Wrapped, passphrase: bytes, store: str, *, where: str) -> bytes:
    """Return what was wrapped.

    Raises:
        WrongKey: the passphrase is another.
        KeyUnavailable: there is not enough memory to work it out.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        derived = _derived(passphrase, wrapped.salt, wrapped.n)
        return AESGCM(derived).decrypt(wrapped.nonce, wrapped.sealed, store.encode())
    except InvalidTag:
        raise WrongKey(f"{where}: this passphrase does not open it: try again") from None
    except MemoryError:
        raise KeyUnavailable(
            f"{where}: opening it needs {wrapped.n >> 10} MiB of memory: close other programs"
        ) from None


def _derived(passphrase: bytes, salt: bytes, n: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=n, r=_R, p=_P).derive(passphrase)
