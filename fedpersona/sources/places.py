"""Where a history lies: a file, all files of a folder, or a file that is open already."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from fedpersona.errors import DataError, DataNotFound
from fedpersona.sources.archive import MOST_FILES, Member, shown

__all__ = ["Found", "Source", "find"]

Source = str | os.PathLike[str] | BinaryIO
"""A path, or a binary file that is open and can be read from its start again."""


class Found(NamedTuple):
    """The files of a source."""

    files: list[Member]
    """By name; a zip is one of them."""
    is_folder: bool
    """Whether a file that cannot be read is one of many, and not all there is."""
    name: str
    """What the source is called in an error."""


class _Lent(io.RawIOBase):
    """An open file of the caller's, from its start; closing this leaves it open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        if not isinstance(file.read(0), bytes):
            raise DataError("this file is open as text: open it as 'rb'")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)


def find(source: Source, name: str = "") -> Found:
    """List the files of a source. Links within a folder are not followed.

    Raises:
        DataNotFound: nothing is there.
        DataError: it cannot be read, is no regular file or folder, or has more than ``MOST_FILES`` files.
    """
    if isinstance(source, str | os.PathLike):
        return _at(Path(source), name)
    name = shown(name) or "the uploaded file"
    return Found([_lent(source, name)], False, name)


def _lent(file: BinaryIO, name: str) -> Member:
    try:
        size = file.seek(0, io.SEEK_END)
        _Lent(file).close()
    except (OSError, ValueError, AttributeError, TypeError):
        raise DataError("this open file is closed, or cannot be read from its start: give a path", path=name) from None
    return Member(name, size, lambda: cast("BinaryIO", _Lent(file)))


def _at(path: Path, name: str) -> Found:
    try:
        path = path.expanduser()
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return Found(_in_folder(path), True, _spelt(path))
    except FileNotFoundError:
        raise DataNotFound("there is no such file or folder: check the spelling", path=_spelt(path)) from None
    except (OSError, ValueError, RuntimeError) as error:
        problem = getattr(error, "strerror", None) or "not a path"
        raise DataError(
            f"cannot be read ({problem.lower()}): check the path and its rights", path=_spelt(path)
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise DataError("not a file or folder that can be read from start to end: give the export", path=_spelt(path))
    if not os.access(path, os.R_OK):
        raise DataError("cannot be read: check its rights", path=_spelt(path))
    return Found([Member(shown(name or path.name), status.st_size, lambda: path.open("rb"))], False, _spelt(path))


def _spelt(path: Path) -> str:
    return shown(str(path))


def _in_folder(folder: Path) -> list[Member]:
    found = []
    for path, size in _walk(folder):
        found.append(Member(shown(path.relative_to(folder).as_posix()), size, lambda path=path: path.open("rb")))  # type: ignore[misc]
        if len(found) > MOST_FILES:
            raise DataError(
                f"this folder has more than {MOST_FILES:,} files: give the folder of the export alone",
                path=_spelt(folder),
            )
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, int]]:
    """Go through a folder, sorted: regular files, with their sizes in bytes."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield folder / entry.name, entry.stat(follow_symlinks=False).st_size
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk_within(folder / entry.name)


def _walk_within(folder: Path) -> Iterator[tuple[Path, int]]:
    """Go through a folder in a folder; where it may not be listed, it stands for itself, and is said not to open."""
    try:
        yield from _walk(folder)
    except PermissionError:
        yield folder, 0
