"""Arrays in ``.npy`` files that are read and written in place, and checked before anything is believed of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from fedpersona.errors import DataError, DataNotFound

__all__ = ["begin_file", "create_mapped", "open_mapped", "sync"]

_BLOCK = 1 << 22
"""Bytes of zeros that are written together."""
_NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that cannot set room aside."""


def begin_file(file: IO[bytes], dtype: DTypeLike, shape: tuple[int, ...]) -> int:
    """Write the header of an array whose entries are to follow, and return how many bytes they take."""
    kind = np.dtype(dtype)
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(kind), "fortran_order": False, "shape": shape})
    return kind.itemsize * int(np.prod(shape, dtype=np.int64))


def create_mapped(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Make a file of zeros and return it as an array that writes to it; an empty one is in memory alone.

    The room for all of it is there afterwards: where a disk is full, writing through a map kills the process.

    Raises:
        OSError: the file cannot be written, or there is no room for it.
    """
    with path.open("wb") as file:
        size = begin_file(file, dtype, shape)
        offset = file.tell()
        file.flush()
        if size:
            _set_aside(file, offset, size)
    return np.memmap(path, dtype, "r+", offset, shape) if size else np.zeros(shape, dtype)


def _set_aside(file: IO[bytes], offset: int, size: int) -> None:
    """Make a file longer by zeros for which there is room."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), offset, size)
            return
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    zeros = bytes(min(_BLOCK, size))
    for start in range(0, size, _BLOCK):
        file.write(zeros[: size - start])
    file.flush()


def open_mapped(path: Path, dtype: DTypeLike, shape: tuple[int | None, ...], *, writable: bool = False) -> NDArray[Any]:
    """Return the array of a file, mapped into memory; None in ``shape`` stands for any length.

    Raises:
        DataNotFound: there is no such file.
        DataError: it is no ``.npy`` file, is of another type or shape, was cut off, or goes on after its end.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            found, fortran, kind = read(file)
            offset = file.tell()
    except OSError as error:
        raise DataNotFound(f"cannot be read ({error.strerror})", path=path) from None
    except ValueError:
        raise DataError("is no .npy file, or its beginning is damaged", path=path) from None
    wanted = " x ".join("any" if length is None else f"{length:,}" for length in shape)
    fits = len(found) == len(shape) and all(w in (None, f) for f, w in zip(found, shape, strict=True))
    if kind != np.dtype(dtype) or fortran or not fits:
        raise DataError(f"holds {kind} {found}: {np.dtype(dtype)} of {wanted} belongs there", path=path)
    if size != offset + kind.itemsize * int(np.prod(found, dtype=np.int64)):
        raise DataError("was cut off, or goes on after its end: its header and its size disagree", path=path)
    if 0 in found:
        return np.zeros(found, kind)
    return np.memmap(path, kind, "r+" if writable else "r", offset, found)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: they cannot be.
    """
    if path.is_dir() and os.name == "nt":  # folders have no handle there
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
