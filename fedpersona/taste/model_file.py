"""A shared model as bytes, the same bytes for the same model: a JSON header and safetensors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fedpersona.errors import LayoutMismatch
from fedpersona.taste.model import Shared

__all__ = ["pack", "unpack"]

_FORMAT = "fedpersona model 1"
_LONGEST_HEADER = 65_536


def pack(shared: Shared, settings: dict[str, Any]) -> bytes:
    """Return a model with its settings as four bytes of length, a JSON header, and safetensors."""
    from safetensors.numpy import save

    header = {
        "format": _FORMAT,
        "model": shared.model,
        "settings": settings,
        "catalogue": shared.catalogue,
        "round": shared.round_number,
    }
    head = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    arrays = {name: np.ascontiguousarray(shared.arrays[name]) for name in sorted(shared.arrays)}
    return len(head).to_bytes(4, "big") + head + save(arrays)


def unpack(data: bytes) -> tuple[Shared, dict[str, Any]]:
    """Return a model and its settings. Shapes and values are not checked yet: :meth:`TasteModel.check` does.

    A header without a format is one that a device kept before formats were named; all else in it is the same.

    Raises:
        LayoutMismatch: these are not the bytes of a model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        length = int.from_bytes(data[:4], "big")
        if not 0 < length <= _LONGEST_HEADER:
            raise ValueError("no header")
        header = json.loads(data[4 : 4 + length])
        known = header.get("format", _FORMAT) == _FORMAT and isinstance(header["settings"], dict)
        texts = isinstance(header["model"], str) and isinstance(header["catalogue"], str)
        if not (known and texts and type(header["round"]) is int and header["round"] >= 0):
            raise ValueError("not of this form")
        body = data[4 + length :]
        if int.from_bytes(body[:8], "little") > _LONGEST_HEADER:  # of safetensors: ours have a few arrays
            raise ValueError("too many arrays")
        shared = Shared(header["model"], header["catalogue"], header["round"], load(body))
    except (ValueError, KeyError, TypeError, SafetensorError, RecursionError, OverflowError):
        raise LayoutMismatch("these bytes are not a shared model of fedpersona") from None
    return shared, header["settings"]
