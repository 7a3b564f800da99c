"""The file ``key.json``: which store it is for, a check value, and the wrapped key where no keyring has it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedpersona.device.folder import KEY_FILE, LOCK_FILE, sync_folder
from fedpersona.device.wrapping import Wrapped
from fedpersona.errors import DiskFull, KeyUnavailable, OutputError, VaultBusy

__all__ = ["KeyFile", "erase", "locked", "read", "write"]

_FORMAT = "fedpersona key 1"
_NEW_FILE = f"{KEY_FILE}.new"
_LARGEST = 1 << 16  # bytes
_LOCK_SECONDS = 10.0
_NO_ROOM = (28, 122, 27)  # ENOSPC, EDQUOT, EFBIG


@dataclass(frozen=True)
class KeyFile:
    """What the file says."""

    store: str
    """The store's random id, which the keyring knows the key by."""
    check: bytes
    """HMAC-SHA256 of a fixed text under the key."""
    wrapped: Wrapped | None
    """The wrapped key; None where the keyring has it."""

    @property
    def kind(self) -> str:
        """``keyring`` or ``passphrase``."""
        return "keyring" if self.wrapped is None else "passphrase"


def read(folder: Path) -> KeyFile | None:
    """Return what the file says, None where there is no file.

    Raises:
        KeyUnavailable: it cannot be read, or is not what was written.
    """
    path = folder / KEY_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnavailable(f"{path}: cannot be read ({error.strerror}): look at its rights") from None
    try:
        return _parsed(data)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyUnavailable(
            f"{path}: is not what was written there, and nothing here can be read without it: put it back from a copy"
        ) from None


def write(folder: Path, file: KeyFile) -> None:
    """Write the file: the old one is there, whole, until the new one is on the disk; then nothing of it is left.

    Raises:
        DiskFull: there is no room.
        OutputError: it cannot be written.
    """
    path, new = folder / KEY_FILE, folder / _NEW_FILE
    try:
        new.unlink(missing_ok=True)
        handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(_packed(file))
            opened.flush()
            os.fsync(opened.fileno())
        _replace(path, new)
        sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        if error.errno in _NO_ROOM:
            raise DiskFull(f"{path}: no room to write the key: make room; nothing was changed") from None
        raise OutputError(f"{path}: cannot be written ({error.strerror}): look at the rights of its folder") from None


def _replace(path: Path, new: Path) -> None:
    """Put the new file in the old one's place, then overwrite the old one's bytes, which have no name any more."""
    old = None
    with suppress(OSError):
        old = path.open("r+b", buffering=0) if os.name != "nt" else None
    try:
        new.replace(path)
        if old is not None:
            _overwrite(old.fileno())
    finally:
        if old is not None:
            old.close()


def erase(folder: Path) -> None:
    """Overwrite the file, and any that a crash left half-written, and remove it.

    Raises:
        OutputError: it could not be removed.
    """
    for path in (folder / KEY_FILE, folder / _NEW_FILE):
        try:
            if not path.is_symlink():
                with suppress(OSError), path.open("r+b", buffering=0) as opened:
                    _overwrite(opened.fileno())
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: could not be removed ({error.strerror}): delete it") from None
    with suppress(OSError):
        sync_folder(folder)


def _overwrite(handle: int) -> None:
    size = os.fstat(handle).st_size
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, secrets.token_bytes(min(size, _LARGEST)))
    os.fsync(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: among processes, and freed by the system when one dies.

    Raises:
        VaultBusy: another process held it for more than 10 seconds.
        OutputError: the lock file cannot be made.
    """
    path = folder / LOCK_FILE
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made ({error.strerror}): look at the rights of its folder") from None
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _take(handle):
            if time.monotonic() > deadline:
                raise VaultBusy(f"{folder}: another process is making the key; try again when it has ended")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _packed(file: KeyFile) -> bytes:
    body: dict[str, Any] = {"format": _FORMAT, "store": file.store, "kind": file.kind, "check": file.check.hex()}
    if file.wrapped is not None:
        body |= {
            name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(file.wrapped).items()
        }
    body["sum"] = _sum(body)
    return json.dumps(body, indent=1).encode()


def _parsed(data: bytes) -> KeyFile:
    body = json.loads(data)
    if len(data) > _LARGEST or body["format"] != _FORMAT or body.pop("sum") != _sum(body):
        raise ValueError("not what was written")
    store, check = str(body["store"]), bytes.fromhex(body["check"])
    if len(bytes.fromhex(store)) != 16 or len(check) != 32 or body["kind"] not in ("keyring", "passphrase"):
        raise ValueError("not what was written")
    if body["kind"] == "keyring":
        return KeyFile(store, check, None)
    salt, nonce, sealed = (bytes.fromhex(body[name]) for name in ("salt", "nonce", "sealed"))
    return KeyFile(store, check, Wrapped(salt, nonce, sealed, int(body["n"]), int(body["r"]), int(body["p"])))


def _sum(body: dict[str, Any]) -> str:
    """Return a checksum, by which damage is told from a wrong passphrase. It protects from no one."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
