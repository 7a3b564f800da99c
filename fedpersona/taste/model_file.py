"""A shared model as bytes, the same bytes for the same model.

Four bytes of length (big-endian), a JSON header of so many bytes, and the arrays' pieces one after the other. The
header has ``format`` (``fedpersona model 2``), ``model``, ``settings``, ``catalogue``, ``round`` and ``arrays``: a list
of ``[name, shape, [bytes of each piece]]`` by name. :mod:`fedpersona.taste.byte_planes` says what the pieces are.

``fedpersona model 1``, which servers and devices have on their disks, has no ``arrays``: a safetensors file follows its
header. It is still read.
"""

from __future__ import annotations

import json
import math
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import LayoutMismatch
from fedpersona.taste.byte_planes import decoded, encoded
from fedpersona.taste.model import Shared

__all__ = ["MOST_BYTES", "pack", "unpack"]

MOST_BYTES = 1 << 30
"""Bytes of a model's arrays together, at most: as many as a device fetches at most."""

_FORMAT, _BEFORE = "fedpersona model 2", "fedpersona model 1"
_FAMILY = "fedpersona model "
_LONGEST_HEADER = 65_536
_MOST_ARRAYS = 64
_MOST_AXES = 8
_ITEM = 4  # bytes of an entry
_NONE = "these bytes are not a shared model of fedpersona"


def pack(shared: Shared, settings: dict[str, Any]) -> bytes:
    """Return a model with its settings as bytes.

    Raises:
        LayoutMismatch: an array is not float32, or there is more than any device reads.
    """
    arrays = {name: shared.arrays[name] for name in sorted(shared.arrays)}
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise LayoutMismatch(f"the shared model's '{name}' is {array.dtype}: a shared model is float32")
    _check_size([array.shape for array in arrays.values()])
    pieces = {name: encoded(array) for name, array in arrays.items()}
    header = {
        "format": _FORMAT,
        "model": shared.model,
        "settings": settings,
        "catalogue": shared.catalogue,
        "round": shared.round_number,
        "arrays": [[name, array.shape, [len(piece) for piece in pieces[name]]] for name, array in arrays.items()],
    }
    head = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    if len(head) > _LONGEST_HEADER:
        raise LayoutMismatch(f"the shared model's settings and names take over {_LONGEST_HEADER:,} bytes")
    return b"".join((len(head).to_bytes(4, "big"), head, *chain.from_iterable(pieces.values())))


def unpack(data: bytes) -> tuple[Shared, dict[str, Any]]:
    """Return a model and its settings. Shapes and values are not checked yet: :meth:`TasteModel.check` does.

    What the header says is held against limits, and against the bytes that are there, before anything is unpacked; no
    array takes more memory than was said.

    Raises:
        LayoutMismatch: these are not the bytes of a model, or of one of a newer version.
    """
    header, start = _header(data)
    try:
        texts = isinstance(header["model"], str) and isinstance(header["catalogue"], str)
        settings, number = header["settings"], header["round"]
        if not (texts and isinstance(settings, dict) and type(number) is int and number >= 0):
            raise ValueError("not of this form")
        body = memoryview(data)[start:]
        # A header without a format is one that a device kept before formats were named.
        arrays = _arrays(header["arrays"], body) if header.get("format", _BEFORE) == _FORMAT else _safetensors(body)
    except (ValueError, KeyError, TypeError):
        raise LayoutMismatch(_NONE) from None
    return Shared(header["model"], header["catalogue"], number, arrays), settings


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header, of a known format, and where it ends; nothing else in it is checked."""
    length = int.from_bytes(data[:4], "big")
    try:
        if not 0 < length <= _LONGEST_HEADER:
            raise ValueError("no header")
        header = json.loads(data[4 : 4 + length])
        found = header.get("format", _BEFORE)
    except (ValueError, AttributeError, RecursionError):
        raise LayoutMismatch(_NONE) from None
    if found not in (_FORMAT, _BEFORE):
        newer = isinstance(found, str) and found.startswith(_FAMILY)
        told = "the shared model is of a form that this version does not read: update fedpersona"
        raise LayoutMismatch(told if newer else _NONE)
    return header, 4 + length


def _arrays(listed: Any, body: memoryview) -> dict[str, NDArray[np.float32]]:
    """Return the arrays that the header lists, each from its pieces.

    Raises:
        ValueError: the list is none.
        TypeError: the same.
        LayoutMismatch: it lists more than a model has, or the pieces are not those that it lists.
    """
    if not isinstance(listed, list) or len(listed) > _MOST_ARRAYS:
        raise ValueError("no list of arrays")
    names, shapes, sizes = [], [], []
    for name, shape, lengths in listed:
        if not (isinstance(name, str) and _numbers(shape, _MOST_AXES) and _numbers(lengths, _ITEM)):
            raise ValueError("no name, shape and lengths")
        names.append(name)
        shapes.append(tuple(shape))
        sizes.append(lengths)
    _check_size(shapes)
    ends = list(accumulate(chain.from_iterable(sizes), initial=0))
    if len(set(names)) != len(names) or ends[-1] != len(body):
        raise LayoutMismatch("the shared model is cut off, or its header does not say what it has: fetch it again")
    pieces = (body[start:end] for start, end in pairwise(ends))
    return {
        name: decoded([next(pieces) for _ in lengths], shape)
        for name, shape, lengths in zip(names, shapes, sizes, strict=True)
    }


def _numbers(found: Any, most: int) -> bool:
    return (
        isinstance(found, list) and len(found) <= most and all(type(number) is int and number >= 0 for number in found)
    )


def _check_size(shapes: list[tuple[int, ...]]) -> None:
    """Check how much the arrays of a model are; an axis of length 0 hides no other."""
    size = sum(_ITEM * math.prod(max(length, 1) for length in shape) for shape in shapes)
    if len(shapes) > _MOST_ARRAYS or size > MOST_BYTES:
        raise LayoutMismatch(f"a shared model of over {MOST_BYTES >> 20:,} MiB or {_MOST_ARRAYS} arrays: refused")


def _safetensors(body: memoryview) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model of the format before.

    Raises:
        ValueError: it has none.
        TypeError: they are of a type that numpy does not have.
        KeyError: the same.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if int.from_bytes(body[:8], "little") > _LONGEST_HEADER:  # of safetensors: ours have a few arrays
        raise ValueError("too many arrays")
    try:
        return dict(load(bytes(body)))
    except (SafetensorError, OverflowError, RecursionError) as error:
        raise ValueError("no safetensors") from error
