"""How large a message becomes when its pieces are put together: known before it is.

An array of Flower's names its chunks by number, and may name one many times, as an array of zeros does. So a message
of one megabyte can become any number of gigabytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from flwr.app import Array
from flwr.supercore.inflatable.inflatable_object import get_object_body, get_object_head_values_from_object_content

from fedpersona.errors import ParcelRefused

__all__ = ["check_inflation"]


def check_inflation(pieces: Mapping[str, bytes], most: int) -> None:
    """Check that the pieces of a message make no more than so many bytes, before anything is made of them.

    Args:
        pieces: of one message, by name.
        most: bytes, of all pieces, and of all arrays.

    Raises:
        ParcelRefused: they make more, or are not of Flower's form.
    """
    if sum(map(len, pieces.values())) > most or sum(_inflated(piece, pieces, most) for piece in pieces.values()) > most:
        raise ParcelRefused(f"a message is of more than {most:,} bytes once it is put together")


def _inflated(piece: bytes, pieces: Mapping[str, bytes], most: int) -> int:
    """Return the bytes of an array; 0 for a piece that is none."""
    try:
        kind, children, _ = get_object_head_values_from_object_content(piece)
        if kind != Array.__qualname__:
            return 0
        sizes = [len(pieces[child]) for child in children]
        total = 0
        for chunk in json.loads(get_object_body(piece, Array))["arraychunk_ids"]:
            total += sizes[chunk]
            if total > most:
                break
        return total
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError):
        raise ParcelRefused("a message cannot be put together from its pieces") from None
