"""One float32 array as bytes, without loss: in planes that are compressed where that helps, or as it is.

Plane k holds the k-th byte of every entry, least first. The last has the sign and most of the exponent, which a
model's entries share to a large part; the lower ones of a trained model are as good as noise. So each plane is kept
compressed or as it is, whichever pays, and noise is neither stored in a stream nor inflated again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import LayoutMismatch

__all__ = ["decoded", "encoded"]

_BYTES = 4
_WORTH = 0.95  # of the size before, at most: less gain is not worth a device's time
_LEVEL = 6  # makes no difference to runs
_WINDOW = 15  # bits; with zlib's head and checksum, so that whoever searches a recording for streams finds these
_MEMORY = 9
# Runs and Huffman codes alone. Measured on trained models: zlib's default, a search for strings that come again, takes
# 20 times as long over the last plane and makes it a sixth longer, as none is worth its distance; Huffman codes without
# runs make a plane of zeros 25 times as long.
_STRATEGY = zlib.Z_RLE
_MOST_RATIO = 1032  # deflate's: two bits at least for 258 bytes at most (RFC 1951, section 3.2.5)


def encoded(array: NDArray[np.float32]) -> list[bytes]:
    """Return a float32 array as one piece, its bytes in C order, or as four, its planes.

    A plane that is shorter than the array has entries is a zlib stream.
    """
    raw = np.ascontiguousarray(array, "<f4")
    entries = raw.reshape(-1, 1).view(np.uint8)
    pieces = [_squeezed(entries[:, place].tobytes()) for place in range(_BYTES)]
    worth = sum(map(len, pieces)) <= _WORTH * raw.nbytes
    return pieces if worth and raw.size else [raw.tobytes()]


def decoded(pieces: Sequence[memoryview], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the array of this shape that was encoded as these pieces.

    No more memory is taken than for this shape, nor than 1,032 times the pieces' size.

    Raises:
        LayoutMismatch: the pieces do not hold just such an array.
    """
    count = math.prod(shape)
    whole = len(pieces) == 1 and len(pieces[0]) == _BYTES * count
    planes = len(pieces) == _BYTES and all(len(piece) <= count <= _MOST_RATIO * len(piece) for piece in pieces)
    if not (whole or planes):
        raise LayoutMismatch("an array of the shared model does not fit the size that its header says")
    if whole:
        return np.frombuffer(pieces[0], "<f4").reshape(shape).copy()
    entries = np.empty((count, _BYTES), np.uint8)
    for place, piece in enumerate(pieces):
        plane = piece if len(piece) == count else _inflated(piece, count)
        entries[:, place] = np.frombuffer(plane, np.uint8)
    return entries.view("<f4").reshape(shape)


def _squeezed(plane: bytes) -> bytes:
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, _STRATEGY)
    stream = deflater.compress(plane) + deflater.flush()
    return stream if len(stream) <= _WORTH * len(plane) else plane


def _inflated(stream: memoryview, count: int) -> bytes:
    """Unpack a stream of just ``count`` bytes; one byte over is asked for, or its end would go unread."""
    inflater = zlib.decompressobj(_WINDOW)
    try:
        plane = inflater.decompress(stream, count + 1)
    except zlib.error:
        plane = b""
    if len(plane) != count or not inflater.eof or inflater.unused_data:
        raise LayoutMismatch("an array of the shared model does not unpack to what its header says")
    return plane
