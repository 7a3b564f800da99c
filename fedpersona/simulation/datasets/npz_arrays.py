"""Arrays out of an ``.npz`` file that nobody vouches for: no pickle, no memory taken on a header's word."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fedpersona.errors import DataError, DataNotFound

__all__ = ["read_arrays"]

_LARGEST_BYTES = 4 << 30
"""Of one array, unpacked: more is a mistake or a trap."""


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Read the named arrays that are there; others are not even unpacked.

    Args:
        path: the ``.npz`` file.
        names: the arrays wanted.

    Returns:
        Arrays of numbers or text by name, in any shape; what they mean is for the caller to check.

    Raises:
        DataNotFound: there is no such file.
        DataError: it is a folder, no ``.npz`` file, truncated, or an array in it is damaged or holds objects.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError("is no ordinary file: name an .npz file", path=path)
    if path.is_dir():
        raise DataError("is a folder: name an .npz file in it, or a dataset with the folder as --data", path=path)
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataNotFound("there is no such file", path=path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path=path) from None
    except Exception:  # zipfile raises a dozen kinds on damaged bytes
        raise DataError("is not an .npz file, or is truncated: save it again with numpy.savez", path=path) from None
    with archive:
        members = set(archive.namelist())
        return {name: _member(archive, path, name) for name in names if f"{name}.npy" in members}


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[Any]:
    try:
        size = archive.getinfo(f"{name}.npy").file_size
        with archive.open(f"{name}.npy") as stream:
            return _array(stream, size)
    except _Refused as refusal:
        raise DataError(str(refusal), path=path, place=name) from None
    except Exception:  # zlib, lzma, struct, tokenize, memory: damaged bytes can raise anything
        raise DataError("is damaged or truncated: save the file again", path=path, place=name) from None


class _Refused(Exception):  # never leaves this module
    """An array that is well formed and not wanted."""


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array; its header must agree with the size of the archive's member before memory is taken."""
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise _Refused("holds Python objects, which are never unpacked: save whole numbers instead")
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        raise _Refused(f"has type {dtype}: whole numbers belong there")
    expected = math.prod(shape) * dtype.itemsize
    if expected > _LARGEST_BYTES:
        raise _Refused(f"would take {expected / 2**30:,.0f} GiB, more than {_LARGEST_BYTES >> 30} GiB is not read")
    if min(shape, default=0) < 0 or expected != size - stream.tell():
        raise _Refused("is damaged or truncated: its header and its size disagree")
    array = np.frombuffer(stream.read(), dtype)
    return array.reshape(shape, order="F" if fortran else "C")
