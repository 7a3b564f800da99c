"""Everything that is kept about the owner, for the owner, in a zip of plain files."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Protocol

from fedpersona.errors import OutputError

__all__ = ["Exportable", "export_to", "write_export"]

_OPEN_FILES = Path("/proc/self/fd")
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)  # the file system's word, or an old kernel's

_README = """\
Everything that fedpersona kept on this device about you.

listens.jsonl    every listen, one a line: when it began (Unix seconds, UTC), artist, title, ids, seconds
consents.json    every yes and no, as records after ISO/IEC TS 27560, in order, with hashes and signatures
ledger.json      everything that left or was refused, in order, with hashes and signatures
playlists.json   the weekly lists that are remembered
enrolments.json  the servers this device has a place with, and its public keys there; no private key
status.json      numbers and settings

Nothing here was sent anywhere by making this file. It is not encrypted: keep it where only you can read it.
"""


class Exportable(Protocol):
    """What is exported: parts by file name, each an iterable of JSON lines or one JSON value."""

    def parts(self) -> Mapping[str, Iterable[Mapping[str, Any]] | list[Any] | Mapping[str, Any]]:
        """Return the parts."""
        ...


def write_export(target: Path, device: Exportable) -> Path:
    """Write the zip; it is there whole, readable by its owner only, or not at all.

    On Linux it has no name until it is whole, so that a process that is killed leaves none of the history readable.
    Elsewhere a kill can leave a hidden file beside the target, whose name ends in ``.partial``.

    Raises:
        OutputError: the file is there already, or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise OutputError(f"{target}: is there already; name another file")
    try:
        if not _written_without_a_name(target, device):
            _write_beside(target, device)
    except FileExistsError:
        raise OutputError(f"{target}: is there already; name another file") from None
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); name another place") from None
    return target


def _written_without_a_name(target: Path, device: Exportable) -> bool:
    """Write a file that the system frees by itself when the process dies, then name it; tell whether that works here.

    See open(2), O_TMPFILE.
    """
    temporary = getattr(os, "O_TMPFILE", None)
    if temporary is None or not _OPEN_FILES.is_dir():
        return False
    try:
        handle = os.open(target.parent, temporary | os.O_RDWR, 0o600)
    except OSError as error:
        if error.errno in _NO_NAMELESS_FILES:
            return False
        raise
    with os.fdopen(handle, "wb") as file:
        _write_whole(file, device)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:  # with a folder given, and only then, the link in /proc is followed
            os.link(_OPEN_FILES / str(file.fileno()), target.name, dst_dir_fd=folder, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:  # a sandbox that forbids it
            return False
        finally:
            os.close(folder)
    return True


def _write_beside(target: Path, device: Exportable) -> None:
    handle, partial = tempfile.mkstemp(prefix=f".{target.stem[:50]}-", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            _write_whole(file, device)
        Path(partial).rename(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _write_whole(file: BufferedIOBase | Any, device: Exportable) -> None:
    export_to(file, device)
    file.flush()
    os.fsync(file.fileno())


def export_to(file: BufferedIOBase | Any, device: Exportable) -> None:
    """Write the zip into an open binary file."""
    with closing(zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)) as archive:
        archive.writestr("README.txt", _README)
        for name, part in device.parts().items():
            with archive.open(name, "w") as member:
                if name.endswith(".jsonl"):
                    for record in part:
                        member.write(_line(record) + b"\n")
                else:
                    member.write(json.dumps(part, ensure_ascii=False, indent=2, default=str).encode("utf-8", "replace"))


def _line(record: object) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
