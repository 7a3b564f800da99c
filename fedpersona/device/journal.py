"""Tells whether committed changes vanished from SQLite's write-ahead log after a crash.

After a crash, SQLite replays the log up to the first frame whose checksum is wrong, and takes a missing log for an
empty one: a flipped bit or a removed file would silently undo what was committed. The index beside the log
(``-shm``) says how many frames were committed and how many had reached the database; it is written after the log is on
disk, so it never claims too much. Formats: https://sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["lost_changes"]

_HEADER, _FRAME_HEADER = 32, 24
_INDEX_HEADER = struct.Struct("=IIIBBHII2I2I2I")  # WalIndexHdr, 48 bytes, in the machine's byte order
_INDEX_VERSION = 3_007_000
_MAGIC = 0x377F0682  # | 1: checksums over big-endian words
_LOOKS, _PAUSE = 3, 0.02


@dataclass(frozen=True)
class _Index:
    frames: int
    copied: int
    salts: tuple[int, int]
    checksum: tuple[int, int]


def lost_changes(database: Path) -> bool:
    """Tell whether the log lacks frames that were committed and had not reached the database yet.

    Call it before the process opens the database, never while it has it open: closing any file of an open SQLite
    database drops the locks that the process holds on it. Another process may write at the same time.
    """
    log, index = Path(f"{database}-wal"), Path(f"{database}-shm")
    before = None
    for look in range(_LOOKS):  # what another process is changing is being used, not damaged
        if not index.exists():
            return False
        if look:
            time.sleep(_PAUSE)
        try:
            found = (index.read_bytes(), log.read_bytes() if log.exists() else b"")
        except OSError:  # held by another process, on Windows
            return False
        if not _lacks_frames(*found) or (before is not None and found != before):
            return False
        before = found
    return True


def _lacks_frames(index_bytes: bytes, log: bytes) -> bool:
    index = _read_index(index_bytes)
    return index is not None and index.frames > index.copied and not _has_frames(log, index)


def _read_index(data: bytes) -> _Index | None:
    size = _INDEX_HEADER.size
    if len(data) < 2 * size + 4 or data[:size] != data[size : 2 * size]:
        return None
    fields = _INDEX_HEADER.unpack_from(data)
    version, initialised, frames = fields[0], fields[3], fields[6]
    words = np.frombuffer(data[: size - 8], np.uint32)
    if version != _INDEX_VERSION or not initialised or _checksum(words, (0, 0)) != fields[12:14]:
        return None
    salts = struct.unpack(">2I", data[32:40])  # kept as in the log, big-endian
    (copied,) = struct.unpack_from("=I", data, 2 * size)
    return _Index(frames, copied, (salts[0], salts[1]), (fields[8], fields[9]))


def _has_frames(log: bytes, index: _Index) -> bool:
    """Tell whether the log has every committed frame, with the right checksums."""
    if len(log) < _HEADER:
        return False
    magic, _, page, _, *salts, first, second = struct.unpack_from(">8I", log)
    order = ">u4" if magic & 1 else "<u4"
    checksum = _checksum(np.frombuffer(log, order, 6), (0, 0))
    if magic | 1 != _MAGIC | 1 or checksum != (first, second) or tuple(salts) != index.salts:
        return False
    size = _FRAME_HEADER + page
    if len(log) < _HEADER + index.frames * size:
        return False
    for number in range(index.frames):
        start = _HEADER + number * size
        if log[start + 8 : start + 16] != log[16:24]:
            return False
        head = np.frombuffer(log, order, 2, start)
        body = np.frombuffer(log, order, page // 4, start + _FRAME_HEADER)
        checksum = _checksum(np.concatenate([head, body]), checksum)
        if checksum != struct.unpack_from(">2I", log, start + 16):
            return False
    return checksum == index.checksum


_FIBONACCI: dict[int, NDArray[np.uint64]] = {}


def _checksum(words: NDArray[np.uint32], seed: tuple[int, int]) -> tuple[int, int]:
    """Return SQLite's checksum of 32-bit words, two at a time: ``a += x + b; b += y + a``, modulo 2^32.

    It is linear: each word counts a Fibonacci number of times, by its distance from the end. So it is two dot
    products instead of a loop over every word.
    """
    count = words.size
    fibonacci = _FIBONACCI.get(count)
    if fibonacci is None:
        numbers = [0, 1]
        while len(numbers) < count + 3:
            numbers.append((numbers[-1] + numbers[-2]) & 0xFFFFFFFF)
        fibonacci = _FIBONACCI[count] = np.array(numbers, np.uint64)
    values = words.astype(np.uint64)
    of_first = fibonacci[count - 1 :: -1][:count] if count else fibonacci[:0]
    of_second = fibonacci[count:0:-1][:count]
    a = int((values * of_first).sum(dtype=np.uint64))
    b = int((values * of_second).sum(dtype=np.uint64))
    seeded = int(fibonacci[count - 1]) if count else 1
    a += seed[0] * seeded + seed[1] * int(fibonacci[count])
    b += seed[0] * int(fibonacci[count]) + seed[1] * int(fibonacci[count + 1])
    return a & 0xFFFFFFFF, b & 0xFFFFFFFF
