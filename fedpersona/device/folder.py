"""The folder of a device: its owner's alone, and a real folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedpersona.errors import OutputError

__all__ = [
    "DATABASE",
    "KEY_FILE",
    "LOCK_FILE",
    "OURS",
    "WITNESS",
    "named_folder",
    "not_ours",
    "ours",
    "private_folder",
    "sync_folder",
]

DATABASE = "vault.db"
KEY_FILE = "key.json"
LOCK_FILE = "key.lock"
WITNESS = "witness"
OURS = (
    f"{DATABASE}-wal",
    f"{DATABASE}-journal",
    f"{DATABASE}-shm",
    DATABASE,
    WITNESS,
    f"{WITNESS}.new",
    KEY_FILE,
    f"{KEY_FILE}.new",
    LOCK_FILE,
)
"""Every file that fedpersona makes in the folder."""

_OWNER_ONLY = 0o700
_OF_THE_SYSTEM = frozenset({".DS_Store", "desktop.ini", "Thumbs.db", "lost+found"})


def named_folder(folder: str | Path) -> Path:
    """Return the whole path of a folder, with ``~`` expanded.

    Raises:
        OutputError: nobody knows the home folder that is meant.
    """
    try:
        return Path(folder).expanduser().absolute()
    except RuntimeError:
        raise OutputError(f"{folder}: no home folder is known for this '~'; give the whole path") from None


def ours(folder: Path) -> list[str]:
    """Return the names of the files in the folder that fedpersona made."""
    return [name for name in OURS if (folder / name).is_symlink() or (folder / name).exists()]


def not_ours(folder: Path) -> list[str]:
    """Return the names of what else is in the folder; of none where the folder is gone."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name not in OURS)
    except FileNotFoundError:
        return []


def private_folder(folder: str | Path) -> Path:
    """Return the folder's whole path; make it where it is missing, and close it to everybody else (0700).

    Raises:
        OutputError: it is a file or a link, holds somebody else's files only, or cannot be made or written.
    """
    path = named_folder(folder)
    try:
        if path.is_symlink():
            raise OutputError(f"{path}: is a link; name the folder itself, so that it is clear what is kept where")
        path.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        if not _OF_THE_SYSTEM.issuperset(not_ours(path)) and not ours(path):
            raise OutputError(f"{path}: holds other files, and this folder is closed to others; name one of its own")
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(_OWNER_ONLY)
    except FileExistsError:
        raise OutputError(f"{path}: is a file; name a folder, or one that does not exist yet") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise OutputError(f"{path}: this folder cannot be made or used ({reason}); name another") from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise OutputError(f"{path}: this folder cannot be written; name another, or give yourself the right to")
    return path


def sync_folder(folder: Path) -> None:
    """Put the folder's list of names on the disk, so that a new or renamed file outlives a power cut."""
    if os.name == "nt":  # Windows does not open folders, and does this by itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
