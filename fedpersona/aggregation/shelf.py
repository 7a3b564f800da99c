"""Models on disk, each in a file that is named by the hash of the model: whole, or not there.

Beside a model may lie what the server keeps for itself with it, as an optimiser's moments: a file of the same name and
another ending, which no device is given.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import DiskFull, LayoutMismatch, OutputError, StateDamaged
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import pack, unpack

__all__ = ["Shelf", "Staged", "sync_folder", "write_staged"]

_HASH = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".model"
_KEPT = ".kept"
_STAGED = ".part"
_LEFT_OVER = 86_400  # seconds after which a staged file is of a process that was killed


@dataclass(frozen=True)
class Staged:
    """Bytes that are on disk under a name that nobody reads yet."""

    path: Path
    goal: Path

    def place(self) -> None:
        """Give them their name, durably. One rename: whoever reads sees the old or the new, never a part.

        Raises:
            DiskFull: there is no room.
            OutputError: the folder cannot be written.
        """
        try:
            self.path.replace(self.goal)
            sync_folder(self.goal.parent)
        except OSError as error:
            raise _named(error, self.goal) from None


class Shelf:
    """The folder of models.

    A file is staged first, which may take long, and placed inside the transaction that names it; :meth:`sweep` runs
    inside one too. So no sweep takes a file away between its placing and its row.

    Args:
        folder: made where it is missing, for its owner only.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be made ({error.strerror}); look at its rights") from None

    def path(self, model_hash: str) -> Path | None:
        """Return the file of a model, or None if there is none or the text is no hash (so: no other path)."""
        if not _HASH.fullmatch(model_hash):
            return None
        path = self.folder / f"{model_hash}{_SUFFIX}"
        return path if path.is_file() else None

    def stage(self, shared: Shared, settings: dict[str, Any]) -> Staged:
        """Write a model to disk under a name of its own.

        Raises:
            DiskFull: there is no room.
            OutputError: the folder cannot be written.
        """
        return write_staged(self.folder / f"{shared.hash()}{_SUFFIX}", pack(shared, settings))

    def stage_kept(self, shared: Shared) -> Staged | None:
        """Write what the server keeps with a model to disk likewise; None where it keeps nothing.

        Raises:
            DiskFull: there is no room.
            OutputError: the folder cannot be written.
        """
        if not shared.kept:
            return None
        from safetensors.numpy import save

        kept = {name: np.ascontiguousarray(array, np.float64) for name, array in shared.kept.items()}
        return write_staged(self.folder / f"{shared.hash()}{_KEPT}", save(kept))

    def kept(self, model_hash: str) -> Mapping[str, NDArray[np.float64]]:
        """Return what the server keeps with a model; nothing where it kept nothing.

        Raises:
            StateDamaged: the file is not one that was written here.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self.folder / f"{model_hash}{_KEPT}"
        if not _HASH.fullmatch(model_hash) or not path.is_file():
            return {}
        try:
            found: dict[str, NDArray[np.float64]] = load(path.read_bytes())
        except OSError as error:
            raise StateDamaged(f"{path}: cannot be read ({error.strerror}); look at its rights and the disk") from None
        except (SafetensorError, ValueError, TypeError, KeyError):
            found = {"": np.array([np.nan])}
        if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in found.values()):
            raise StateDamaged(f"{path}: is not what was written; put it back from your backup")
        return found

    def read(self, model_hash: str) -> Shared:
        """Read a model and check that it is the one of this hash.

        Raises:
            StateDamaged: it is missing or another.
        """
        path = self.path(model_hash)
        if path is None:
            raise StateDamaged(f"{self.folder}: the model {model_hash[:12]}… is missing; put it back from your backup")
        try:
            shared = unpack(path.read_bytes())[0]
            whole = shared.hash() == model_hash
        except LayoutMismatch:
            whole = False
        except OSError as error:
            raise StateDamaged(f"{path}: cannot be read ({error.strerror}); look at its rights and the disk") from None
        if not whole:
            raise StateDamaged(f"{path}: is not the model that was written; put it back from your backup")
        return shared

    def sweep(self, keep: Collection[str]) -> int:
        """Delete all models but these, and what killed processes left; return how many models went.

        Call it inside a writing transaction.
        """
        gone = 0
        for path in self.folder.glob(f"*{_SUFFIX}"):
            if _HASH.fullmatch(path.stem) and path.stem not in keep:
                path.unlink(missing_ok=True)
                gone += 1
        for path in self.folder.glob(f"*{_KEPT}"):
            if _HASH.fullmatch(path.stem) and path.stem not in keep:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(f"*{_STAGED}"):
            if time.time() - path.stat().st_mtime > _LEFT_OVER:
                path.unlink(missing_ok=True)
        return gone


def write_staged(goal: Path, data: bytes) -> Staged:
    """Write bytes, for their owner only, to a name of their own beside ``goal``, and on to the disk.

    Raises:
        DiskFull: there is no room.
        OutputError: the folder cannot be written.
    """
    path = goal.with_name(f"{goal.name}.{secrets.token_hex(4)}{_STAGED}")
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _named(error, goal) from None
    return Staged(path, goal)


def _named(error: OSError, goal: Path) -> DiskFull | OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{goal}: the disk is full; what was written before is whole. Make room and go on")
    return OutputError(f"{goal}: cannot be written ({error.strerror}); look at the folder's rights")


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to disk: without it a renamed file may be gone after a power cut."""
    if os.name == "nt":
        return  # Windows has no handle of a folder to sync
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
