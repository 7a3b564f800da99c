"""Masks: a seed of 16 bytes, expanded by AES-128 in counter mode to as many words as an update has.

``PRG(s)`` of Bell et al. 2020, algorithm 2. A seed is used for one vector only, so every counter may begin at zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from fedpersona.wire.message import Words

__all__ = ["SEED", "add_masks", "reference_mask"]

SEED = 16
"""Bytes of a seed."""

_BLOCK = 1 << 16  # bytes expanded at a time: the part of the vector stays in the cache while all masks are added to it
_ZEROS = memoryview(bytes(_BLOCK))


def add_masks(words: Words, added: Iterable[bytes] = (), subtracted: Iterable[bytes] = ()) -> None:
    """Add the masks of some seeds to a vector, and take those of others off, in place, modulo its type.

    Works through the vector in blocks: beside it, it takes 64 KiB and a cipher for each seed, however long it is.

    Args:
        words: uint32 or uint64, little-endian, shape (n,).
        added: seeds whose masks are added, :data:`SEED` bytes each.
        subtracted: seeds whose masks are taken off.
    """
    streams = [(np.add, _stream(seed)) for seed in added] + [(np.subtract, _stream(seed)) for seed in subtracted]
    expanded = bytearray(_BLOCK + 15)  # room that the cipher asks for
    mask = np.frombuffer(expanded, words.dtype, _BLOCK // words.itemsize)
    for start in range(0, len(words), mask.size):
        part = words[start : start + mask.size]
        zeros, addend = _ZEROS[: part.nbytes], mask[: part.size]
        for combine, stream in streams:
            stream.update_into(zeros, expanded)
            combine(part, addend, out=part)
    expanded[:] = bytes(len(expanded))


def reference_mask(seed: bytes, size: int, kind: np.dtype[np.unsignedinteger]) -> Words:
    """Return the whole mask of a seed at once: the readable form of :func:`add_masks`, which is held equal to it."""
    stream = _stream(seed).update(bytes(size * kind.itemsize))
    return np.frombuffer(stream, kind)


def _stream(seed: bytes) -> CipherContext:
    if len(seed) != SEED:
        raise ValueError(f"a seed has {SEED} bytes, not {len(seed)}")
    return Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
