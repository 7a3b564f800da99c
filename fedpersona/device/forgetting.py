"""Deletes a device's folder, and looks whether it is gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fedpersona.device.folder import DATABASE, ours
from fedpersona.device.in_use import unused
from fedpersona.device.key_file import erase, read
from fedpersona.device.keyrings import Keyring, system_keyring
from fedpersona.device.keys import Key
from fedpersona.errors import KeyUnavailable, OutputError

__all__ = ["forget_folder", "forget_unopened"]

_CUT = (DATABASE + "-wal", DATABASE + "-journal", DATABASE)  # never -shm: it is mapped into memory


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
        for file in (folder / name for name in ours(folder)):  # the log first, while nobody can open the database
            try:
                _remove(file, cut=alone and file.name in _CUT)
            except OSError as error:
                left.append(f"{file.name} ({error.strerror})")
    with suppress(OSError):  # something of somebody else's is in it
        folder.rmdir()
    if left:
        raise OutputError(
            f"{folder}: the key is destroyed, so nothing can be read, but could not be removed: {', '.join(left)}"
        )


def forget_unopened(folder: Path, find_keyring: Callable[[], Keyring | None] = system_keyring) -> str | None:
    """Remove a device that cannot be opened: its key is lost, or what it opens is damaged, or half of it is gone.

    Args:
        folder: the device's folder; any of its files may be missing.
        find_keyring: gives the system's keyring; another is for tests.

    Returns:
        A sentence about an entry in the system keyring that is still there, though it opens nothing any more; None
        where there is none.

    Raises:
        OutputError: a file is still there.
    """
    try:
        left = _drop_entry(folder, find_keyring())
        erase(folder)
    finally:
        forget_folder(folder)
    return left


def _drop_entry(folder: Path, keyring: Keyring | None) -> str | None:
    """Delete the keyring's entry, where the key file says that there is one; return why it is still there."""
    try:
        file = read(folder)
    except KeyUnavailable:
        file = None
    if file is None:
        return (
            "If its key was in the system keyring, the entry is still there (which one, only key.json could tell); "
            "it opens nothing any more."
            if keyring is not None
            else None
        )
    if file.wrapped is not None:
        return None
    if keyring is None:
        return (
            f"The entry '{file.store}' of fedpersona in the system keyring is still there, as there is no keyring "
            "here now: delete it there; it opens nothing any more."
        )
    try:
        Key(folder, file, b"", keyring).destroy()
    except KeyUnavailable as error:
        return f"Still there: {error}; it opens nothing any more."
    return None


def _remove(file: Path, *, cut: bool) -> None:
    if cut and not file.is_symlink():
        with suppress(OSError), file.open("r+b") as opened:
            opened.truncate(0)
            os.fsync(opened.fileno())
    file.unlink()
