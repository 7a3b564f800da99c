"""The private parts of simulated devices, a row each: what their owners' devices would keep, in one table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import OutputError
from fedpersona.simulation.mapped_array import begin_file, open_mapped, sync
from fedpersona.taste.gradient import GradientModel

__all__ = ["PrivateTable"]

_BLOCK = 1 << 16


class PrivateTable:
    """One row of float32 a device, in memory or in a file. A simulation holds such a table; a server never does.

    Args:
        rows: shape (devices, width); it is written to in place.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows

    @classmethod
    def begin(cls, model: GradientModel, seed: int, devices: int, path: Path | None = None) -> PrivateTable:
        """Return the table before the first round.

        Args:
            model: whose private parts they are.
            seed: of the run.
            devices: how many there are.
            path: a file that the table lies in, in place of memory; what was there is replaced.

        Raises:
            OutputError: the file cannot be written.
        """
        width = sum(int(np.prod(shape, dtype=np.int64)) for shape in model.private_shapes().values())

        def blocks() -> Iterator[NDArray[np.float32]]:
            for start in range(0, devices, _BLOCK):
                yield model.begin(seed, np.arange(start, min(start + _BLOCK, devices)))

        if path is not None:
            _write(path, (devices, width), blocks())
            return cls.open(path, devices, width)
        rows = np.empty((devices, width), np.float32)
        _fill(rows, blocks())
        return cls(rows)

    @classmethod
    def begin_in_a_file(cls, model: GradientModel, seed: int, devices: int) -> PrivateTable:
        """Return the table before the first round, in a file without a name where temporary files are (``TMPDIR``).

        The file is gone when the table is, however the process ends.

        Raises:
            OutputError: the file cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="fedpersona-", ignore_cleanup_errors=True) as folder:
            return cls.begin(model, seed, devices, Path(folder) / "private.npy")

    @classmethod
    def open(cls, path: Path, devices: int | None = None, width: int | None = None) -> PrivateTable:
        """Return a table that lies in a file; changes go to the file.

        Raises:
            DataNotFound: there is no such file.
            DataError: it is not whole, or not of this many devices or of this width.
        """
        return cls(open_mapped(path, np.float32, (devices, width), writable=True))

    def take(self, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return a copy of the rows of some devices, shape (n, width)."""
        return np.ascontiguousarray(self.rows[devices])

    def put(self, devices: NDArray[np.integer], rows: NDArray[np.float32]) -> None:
        """Replace the rows of some devices."""
        self.rows[devices] = rows

    def save(self, path: Path) -> None:
        """Leave a copy in another file, whole under its name or not at all; it is on the disk then.

        Raises:
            OutputError: the file cannot be written; what was there before is there still.
        """
        starts = range(0, len(self.rows), _BLOCK)
        _write(path, self.rows.shape, (np.asarray(self.rows[start : start + _BLOCK]) for start in starts))

    def restore(self, path: Path) -> None:
        """Take over the rows of a copy.

        Raises:
            DataNotFound: there is no such file.
            DataError: it is not whole, or of other devices; no row has changed then.
        """
        copy = open_mapped(path, np.float32, self.rows.shape)
        _fill(self.rows, (copy[start : start + _BLOCK] for start in range(0, len(copy), _BLOCK)))


def _fill(rows: NDArray[np.float32], blocks: Iterator[NDArray[np.float32]]) -> None:
    start = 0
    for block in blocks:
        rows[start : start + len(block)] = block
        start += len(block)


def _write(path: Path, shape: tuple[int, ...], blocks: Iterator[NDArray[np.float32]]) -> None:
    """Write a file beside ``path``, and give it the name when all of it is on the disk."""
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:  # not through a map: a full disk is an error here
            begin_file(file, np.float32, shape)
            for block in blocks:
                file.write(np.ascontiguousarray(block, np.float32).data)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: what devices keep cannot be written there ({error.strerror})") from None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
