"""The struct that the compiled kernel takes: field for field that of ``source/cohort.h``."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOUND", "FINE", "HISTORY", "MEMORY", "STOPPED", "TOO_MANY", "VERSION", "Job", "address"]

VERSION = 2
"""Raised with every change of the struct or of what the kernel computes."""

FINE, STOPPED, BOUND, MEMORY, TOO_MANY, HISTORY = range(6)
"""What became of a job."""

_POINTER, _LONG, _INT, _FLOAT, _DOUBLE = (
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_float,
    ctypes.c_double,
)


class Job(ctypes.Structure):
    """One call: which devices train how on what, and where their sum goes."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("devices", _LONG),
        ("people", _POINTER),
        ("indptr", _POINTER),
        ("indices", _POINTER),
        ("plays", _LONG),
        ("weights", _POINTER),
        ("keys", _POINTER),
        ("n_items", _LONG),
        ("dim", _LONG),
        ("items", _POINTER),
        ("privates", _POINTER),
        ("private_width", _LONG),
        ("epochs", _LONG),
        ("rebuild_epochs", _LONG),
        ("batch", _LONG),
        ("negatives", _LONG),
        ("support", _DOUBLE),
        ("lr", _FLOAT),
        ("item_lr", _FLOAT),
        ("prox", _FLOAT),
        ("loss", _INT),
        ("order", _INT),
        ("bias", _INT),
        ("ring_bits", _INT),
        ("toward_zero", _INT),
        ("longest", _DOUBLE),
        ("clip", _DOUBLE),
        ("measure", _DOUBLE),
        ("bound", _DOUBLE),
        ("scale", _DOUBLE),
        ("rounding_key", ctypes.c_uint64),
        ("sum", _POINTER),
        ("locks", _POINTER),
        ("threads", _LONG),
        ("moved_first", _POINTER),
        ("moved_count", _POINTER),
        ("moved_items", _POINTER),
        ("moved_rows", _POINTER),
        ("next", _LONG),
        ("status", _INT),
        ("failed", _LONG),
    )

    held: tuple[object, ...]
    """The arrays whose numbers the fields point to: they live as long as a thread has this job."""


def address(array: NDArray[np.generic] | None) -> int | None:
    """Return where an array's numbers begin, for a field of the struct; the caller keeps the array alive."""
    return None if array is None else array.__array_interface__["data"][0]
