"""The files in a zip, streamed within limits: nothing of it is ever unpacked to a disk, so its names lead nowhere.

A service gives a history as a zip, and a person may be handed another's. What would unpack to far more than it is, or
name a file outside, is refused whole; what is only damaged is named.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from fedpersona.errors import DataError, UnsafeArchive

__all__ = ["MOST_BYTES", "MOST_FILES", "MOST_RATIO", "RATIO_FROM", "Archive", "Member", "is_zip", "shown"]

MOST_FILES = 20_000
"""Files in one zip or folder; an export of everything a service knows has some thousands."""
MOST_BYTES = 8 << 30
"""Bytes that all files of one zip have together, unpacked."""
MOST_RATIO = 200
"""Bytes unpacked for each byte packed; a history has 10 to 30."""
RATIO_FROM = 16 << 20
"""Bytes unpacked up to which the ratio does not matter."""

_LONGEST_READ = 16 << 20
_PIECE = 1 << 16
_LONGEST_SHOWN = 200
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def is_zip(head: bytes) -> bool:
    """Tell a zip by its first four bytes."""
    return head.startswith(_MAGIC)


def shown(name: str) -> str:
    """Make a file's name fit to be printed: no control characters, and at most 200 characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in name[:_LONGEST_SHOWN])


@dataclass(frozen=True, slots=True)
class Member:
    """One file, wherever it lies."""

    name: str
    """As it is shown to a person."""
    size: int
    """Bytes, as far as is known before it is read."""
    opener: Callable[[], BinaryIO] = field(repr=False)

    def open(self, advance: Callable[[int], None] = lambda _: None) -> BinaryIO:
        """Open it to be read once.

        Args:
            advance: is told the number of bytes of each piece that was read.

        Raises:
            DataError: it cannot be opened; and, while it is read, it is damaged.
        """
        try:
            inner = self.opener()
        except _DAMAGE:
            raise DataError("cannot be opened, so it was left out", path=self.name) from None
        return io.BufferedReader(_Guarded(inner, self.name, advance), buffer_size=_PIECE)


class _Guarded(io.RawIOBase):
    """A file that says how far it was read, and whose damage is a ``DataError`` that quotes nothing of it."""

    def __init__(self, inner: BinaryIO, name: str, advance: Callable[[int], None]) -> None:
        self._inner, self._name, self._advance = inner, name, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        try:
            data = self._inner.read(len(view))
        except _DAMAGE:
            raise DataError("damaged from here on, so the rest is left out: get it anew", path=self._name) from None
        view[: len(data)] = data
        self._advance(len(data))
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class _Careful:
    """A zip's own bytes, of which one read is never huge: a directory that says it is, is not read into memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        # In pieces: a stream may set aside as much as it is asked for, whether that much is there or not.
        data, wanted = bytearray(), _LONGEST_READ + 1 if size < 0 else size
        while len(data) < wanted and (piece := self._stream.read(min(wanted - len(data), _PIECE))):
            data += piece
            if len(data) > _LONGEST_READ:
                raise UnsafeArchive(f"this zip lists more than {MOST_FILES:,} files, so it is not opened")
        return bytes(data)


class Archive:
    """A zip that was looked through before any of it is unpacked.

    Args:
        stream: its bytes, seekable; it stays open, and is the caller's to close.
        name: what a person calls it.
        inside: goes before the names of its files: that of the zip, where it is one of several.

    Raises:
        UnsafeArchive: it has more files or bytes than ``MOST_FILES`` and ``MOST_BYTES``, would unpack to more than
            ``MOST_RATIO`` times what it is, or names a file outside of itself.
        DataError: it is cut off, damaged, protected by a password, or packed in an unusual way.
    """

    def __init__(self, stream: BinaryIO, name: str, inside: str = "") -> None:
        self._name, self._inside = name, inside
        try:
            self._zip = zipfile.ZipFile(cast("BinaryIO", _Careful(stream)))
            packed = stream.seek(0, io.SEEK_END)
        except UnsafeArchive as error:
            raise UnsafeArchive(str(error), path=name) from None
        except _DAMAGE:
            raise DataError("this zip is cut off or damaged: get it anew", path=name) from None
        self._files = [
            info for info in self._zip.infolist() if not info.filename.endswith("/")
        ]  # is_dir() fails on an empty name
        self.size = sum(info.file_size for info in self._files)
        """Bytes of all its files, unpacked."""
        self._check(packed)

    def _check(self, packed: int) -> None:
        if len(self._zip.infolist()) > MOST_FILES:
            raise UnsafeArchive(f"this zip has more than {MOST_FILES:,} files, so it is not opened", path=self._name)
        if self.size > MOST_BYTES:
            raise UnsafeArchive(
                f"this zip would unpack to more than {MOST_BYTES >> 30} GiB, so it is not opened", path=self._name
            )
        # The first is for files that share their bytes: each by itself looks harmless then.
        _check_ratio(self._name, "this zip", packed, self.size)
        for info in self._files:
            _check_member(self._name, info)

    def __iter__(self) -> Iterator[Member]:
        """Yield the files by name; of two of one name, both."""
        for info in sorted(self._files, key=lambda one: one.filename):
            yield Member(self._inside + shown(info.filename), info.file_size, lambda info=info: self._opened(info))  # type: ignore[misc]

    def _opened(self, info: zipfile.ZipInfo) -> BinaryIO:
        return cast("BinaryIO", self._zip.open(info))


def _check_ratio(name: str, what: str, packed: int, unpacked: int) -> None:
    if unpacked > RATIO_FROM and unpacked > MOST_RATIO * packed:
        raise UnsafeArchive(
            f"{what} would unpack to over {MOST_RATIO} times its size, as no history does, so it is not opened",
            path=name,
        )


def _check_member(name: str, info: zipfile.ZipInfo) -> None:
    if _leads_out(info.filename):
        raise UnsafeArchive("this zip names a file outside of itself, so it is not opened", path=name)
    if info.flag_bits & 0x1:
        raise DataError("this zip is protected by a password: unpack it and give the folder instead", path=name)
    # Other methods can ask for gigabytes of memory to unpack a few bytes, and no service uses them.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("this zip is packed in an unusual way: unpack it and give the folder instead", path=name)
    _check_ratio(name, "a file in this zip", info.compress_size, info.file_size)


def _leads_out(member: str) -> bool:
    """Tell a name that, were it unpacked, would lie outside; some programs write a backslash for a slash."""
    parts = member.replace("\\", "/").split("/")
    is_drive = len(parts) > 1 and len(parts[0]) == 2 and parts[0].endswith(":")
    return parts[0] == "" or ".." in parts or is_drive
