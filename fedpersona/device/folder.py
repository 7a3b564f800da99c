"""The folder of a device: its owner's alone, and a real folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedpersona.errors import OutputError

__all__ = ["DATABASE", "KEY_FILE", "LOCK_FILE", "private_folder", "sync_folder"]

DATABASE = "vault.db"
KEY_FILE = "key.json"
LOCK_FILE = "key.lock"

_OWNER_ONLY = 0o700


def private_folder(folder: str | Path) -> Path:
    """Return the folder with ``~`` expanded; make it where it is missing, and close it to everybody else (0700).

    Raises:
        OutputError: it is a file or a link, or cannot be made or written.
    """
    try:
        path = Path(folder).expanduser()
    except RuntimeError:
        raise OutputError(f"{folder}: no home folder is known for '~'; give the whole path") from None
    try:
        if path.is_symlink():
            raise OutputError(f"{path}: is a link; name the folder itself, so that it is clear what is kept where")
        path.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
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
