"""An update as bytes: a short header and the integers of every array, always all of them, always dense."""

from __future__ import annotations

import json
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import LayoutMismatch
from fedpersona.wire.layout import Layout

__all__ = ["Words", "decode", "encode", "envelope", "word_type"]

Words: TypeAlias = "NDArray[np.uint32] | NDArray[np.uint64]"
"""Entries of all arrays of a layout, one after another, modulo 2^32 or 2^64."""

_MAGIC = b"fedpersona update 1\n"
_ALIGNED = 64  # bytes: the words begin where arithmetic is fast


def word_type(ring_bits: int) -> np.dtype[np.unsignedinteger]:
    """Return the little-endian unsigned type whose arithmetic is modulo ``2**ring_bits``."""
    return np.dtype("<u4" if ring_bits == 32 else "<u8")


def envelope(*, plan_hash: str, layout: Layout, ring_bits: int) -> tuple[bytearray, Words]:
    """Return a message whose words are zero yet, and a view of them to fill in: no second copy is needed.

    A message is a magic line, a JSON header line, and the words, little-endian.
    """
    header = _header(plan_hash, layout)
    kind = word_type(ring_bits)
    message = bytearray(len(header) + layout.size * kind.itemsize)
    message[: len(header)] = header
    return message, np.frombuffer(message, kind, offset=len(header))


def encode(words: Words, *, plan_hash: str, layout: Layout) -> bytes:
    """Return the message of these words.

    Raises:
        LayoutMismatch: there are more or fewer words than the layout has entries.
    """
    if words.shape != (layout.size,):
        raise LayoutMismatch(f"the layout has {layout.size:,} numbers, the update {words.size:,}")
    message, blank = envelope(plan_hash=plan_hash, layout=layout, ring_bits=8 * words.itemsize)
    blank[:] = words
    return bytes(message)


def decode(message: bytes, *, plan_hash: str, layout: Layout, ring_bits: int) -> Words:
    """Return the words of a message for this very plan and layout.

    Raises:
        LayoutMismatch: it answers another plan, or is not of the declared form to the byte.
    """
    start = _header(plan_hash, layout)
    kind = word_type(ring_bits)
    if not message.startswith(start):
        raise LayoutMismatch("the message answers another plan, or is of another layout")
    if len(message) != len(start) + layout.size * kind.itemsize:
        raise LayoutMismatch(f"the message has {len(message):,} bytes, its layout says otherwise")
    return np.frombuffer(message, kind, offset=len(start))


def _header(plan_hash: str, layout: Layout) -> bytes:
    arrays = [[spec.name, list(spec.shape)] for spec in layout.arrays]
    header = _MAGIC + json.dumps({"arrays": arrays, "plan": plan_hash}, sort_keys=True).encode()
    return header + b" " * (-(len(header) + 1) % _ALIGNED) + b"\n"
