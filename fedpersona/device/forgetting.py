"""Deletes a device's folder, and looks whether it is gone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fedpersona.device.folder import DATABASE, KEY_FILE, LOCK_FILE
from fedpersona.device.in_use import unused
from fedpersona.device.key_file import erase
from fedpersona.errors import OutputError

__all__ = ["forget_folder", "forget_unopened"]

_CUT = (DATABASE + "-wal", DATABASE + "-journal", DATABASE)  # never -shm: it is mapped into memory
_OURS = (*_CUT[:2], DATABASE + "-shm", DATABASE, KEY_FILE, LOCK_FILE)  # the log first, while nobody can open


def forget_folder(folder: Path) -> None:
    """Remove every file that fedpersona made in the folder, and the folder where nothing else is in it.

    The files are ciphertext whose key is gone by now. Where nobody has them open they are cut to nothing before they
    are removed, so that a second name of a file shows nothing either. Another process that has them open keeps its
    nameless ones until it ends, and is told that the device is closed: cut under its feet, they would kill it.

    Raises:
        OutputError: a file is still there.
    """
    left = []
    with unused(folder / DATABASE) as alone:
        for file in (folder / name for name in _OURS):
            try:
                if file.is_symlink() or file.exists():
                    _remove(file, cut=alone and file.name in _CUT)
            except OSError as error:
                left.append(f"{file.name} ({error.strerror})")
    with suppress(OSError):  # something of somebody else's is in it
        folder.rmdir()
    if left:
        raise OutputError(
            f"{folder}: the key is destroyed, so nothing can be read, but could not be removed: {', '.join(left)}"
        )


def forget_unopened(folder: Path) -> None:
    """Remove a device that cannot be opened: its key is lost, or what it opens is damaged.

    An entry in the system keyring stays; it opens nothing any more.

    Raises:
        OutputError: a file is still there.
    """
    erase(folder)
    forget_folder(folder)


def _remove(file: Path, *, cut: bool) -> None:
    if cut and not file.is_symlink():
        with suppress(OSError), file.open("r+b") as opened:
            opened.truncate(0)
            os.fsync(opened.fileno())
    file.unlink()
