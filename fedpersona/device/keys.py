"""The key of a device's store: in the system keyring, or in a file that a passphrase protects.

The file ``key.json`` is there in both cases. It never holds the key itself: it says where the key is, and carries a
check value, by which a wrong key is told from a damaged store.
"""

from __future__ import annotations

import hmac
import os
import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from fedpersona.device.folder import DATABASE, private_folder
from fedpersona.device.key_file import KeyFile, erase, locked, read, write
from fedpersona.device.keyrings import Keyring, system_keyring
from fedpersona.device.wrapping import Wrapped, unwrap, wrap
from fedpersona.errors import ConfigError, DeviceClosed, KeyUnavailable, WrongKey

__all__ = ["Key", "Passphrase", "open_key"]

Passphrase: TypeAlias = str | Callable[[], str] | None

_VARIABLE = "FEDPERSONA_PASSPHRASE"
_SERVICE = "fedpersona"
_CHECKED_TEXT = b"fedpersona: this is the key of this store"


class _System:
    """Stands for: ask the system for its keyring, once one is needed."""


_SYSTEM: Final = _System()


class Key:
    """The key of one store. Its ``repr`` shows nothing of it. Made by :func:`open_key`."""

    def __init__(self, folder: Path, file: KeyFile, secret: bytes, keyring: Keyring | None) -> None:
        self._folder = folder
        self._file = file
        self._secret: bytes | None = secret
        self._keyring = keyring

    def __repr__(self) -> str:
        return f"Key({self.kind})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied or stored")

    @property
    def secret(self) -> bytes:
        """32 random bytes.

        Raises:
            DeviceClosed: the key was destroyed.
        """
        if self._secret is None:
            raise DeviceClosed(f"{self._folder}: the key was destroyed; nothing that was kept can be read again")
        return self._secret

    @property
    def kind(self) -> str:
        """Where it is: ``keyring`` or ``passphrase``."""
        return self._file.kind

    @property
    def notices(self) -> tuple[str, ...]:
        """What the owner should know about how the key is kept, in sentences."""
        if self._file.wrapped is None:
            return ()
        return (
            f"No system keyring: the key is in {self._folder / 'key.json'}, protected by your passphrase; "
            "whoever loses either loses the history.",
        )

    def remember(self, text: str) -> None:
        """Keep a short text beside the key, where that is a keyring; without one, or where it fails, nothing is kept.

        Args:
            text: at most 1,000 letters of ASCII: Windows' keyring takes no more.
        """
        if self._keyring is not None:
            with suppress(Exception):  # any backend may raise anything
                self._keyring.set_password(_SERVICE, _witness_of(self._file.store), text)

    def remembered(self) -> str | None:
        """Return the text that was kept last, None where there is none or the keyring does not answer."""
        if self._keyring is not None:
            with suppress(Exception):
                return self._keyring.get_password(_SERVICE, _witness_of(self._file.store))
        return None

    def rewrap(self, passphrase: str) -> None:
        """Protect the key with another passphrase. The old one opens nothing any more; the store stays as it is.

        Raises:
            ConfigError: the passphrase is empty, or the key is in the keyring and has none.
            OutputError: the file cannot be written; the old passphrase is still the right one.
        """
        secret = self.secret
        if self._file.wrapped is None:
            raise ConfigError("the key is in the system keyring: there is no passphrase to change")
        wrapped = wrap(secret, _passphrase_bytes(passphrase), self._file.store)
        file = KeyFile(self._file.store, self._file.check, wrapped)
        write(self._folder, file)
        self._file = file

    def destroy(self) -> None:
        """Make the store unreadable for ever: the keyring's entry is deleted, the file overwritten and removed.

        Once more does nothing.

        Raises:
            KeyUnavailable: the keyring would not delete its entry. The file is gone all the same.
            OutputError: the file could not be removed.
        """
        if self._secret is None:
            return
        self._secret = None
        try:
            self._leave_keyring()  # first: without the file nobody could tell which entry is its
        finally:
            erase(self._folder)

    def _leave_keyring(self) -> None:
        if self._keyring is None:
            return
        with suppress(Exception):  # it tells nothing without the key
            if self._keyring.get_password(_SERVICE, _witness_of(self._file.store)) is not None:
                self._keyring.delete_password(_SERVICE, _witness_of(self._file.store))
        try:
            if self._keyring.get_password(_SERVICE, self._file.store) is not None:
                self._keyring.delete_password(_SERVICE, self._file.store)
        except Exception as error:  # any backend may raise anything
            raise KeyUnavailable(
                f"the system keyring would not delete its entry '{_SERVICE}' / '{self._file.store}' "
                f"({type(error).__name__}): delete it there"
            ) from None


def open_key(folder: str | Path, passphrase: Passphrase = None, keyring: Keyring | _System | None = _SYSTEM) -> Key:
    """Return the key of the store in a folder; make folder and key where there are none.

    A new key is on the disk, or in the keyring, before this returns: a store is never without its key. Two processes
    that begin at once get the same one.

    Args:
        folder: the device's folder; ``~`` is the home folder.
        passphrase: used where there is no keyring: itself, or something that is called for it only then. Without it,
            the environment's ``FEDPERSONA_PASSPHRASE``.
        keyring: another keyring than the system's; None for none.

    Raises:
        KeyUnavailable: there is no keyring and no passphrase, or the key cannot be read.
        WrongKey: the passphrase is another, or the keyring has another key.
        ConfigError: the passphrase is empty.
        OutputError: the folder or the file cannot be written.
        VaultBusy: another process held the folder's lock for too long.
        DiskFull: there is no room for the file.
    """
    path = private_folder(folder)
    file = read(path)
    if file is not None:
        return _existing(path, file, passphrase, keyring)
    if _has_store(path):
        raise KeyUnavailable(
            f"{path / 'key.json'}: is missing, and nothing here can be read without it: put it back from a copy, "
            "or delete the folder to begin anew"
        )
    return _new(path, passphrase, keyring)


def _has_store(folder: Path) -> bool:
    try:
        return (folder / DATABASE).stat().st_size > 0
    except OSError:
        return False


def _existing(folder: Path, file: KeyFile, passphrase: Passphrase, keyring: Keyring | _System | None) -> Key:
    if file.wrapped is not None:
        found = unwrap(file.wrapped, _asked(passphrase, folder), file.store, where=str(folder / "key.json"))
        ring = None
    else:
        ring = _chosen(keyring)
        found = _from_keyring(folder, file, ring)
    if not hmac.compare_digest(_check(found), file.check):
        raise WrongKey(
            f"{folder}: the key in the {file.kind} is not this store's: look whether the folder was replaced"
        )
    return Key(folder, file, found, ring)


def _from_keyring(folder: Path, file: KeyFile, ring: Keyring | None) -> bytes:
    if ring is None:
        raise KeyUnavailable(
            f"{folder}: its key is in a system keyring, and there is none here: log in where the keyring is unlocked"
        )
    try:
        text = ring.get_password(_SERVICE, file.store)
    except Exception as error:  # any backend may raise anything
        raise KeyUnavailable(
            f"{folder}: the system keyring could not be asked ({type(error).__name__}): unlock it and try again"
        ) from None
    try:
        secret = bytes.fromhex(text or "")
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise KeyUnavailable(
            f"{folder}: the system keyring has no key '{_SERVICE}' / '{file.store}' any more: put it back, or delete "
            "the folder to begin anew"
        )
    return secret


def _new(folder: Path, passphrase: Passphrase, keyring: Keyring | _System | None) -> Key:
    """Make a key, unless another process is quicker."""
    store, secret = secrets.token_hex(16), secrets.token_bytes(32)
    ring = _storing(_chosen(keyring), store, secret)
    kept = False
    try:
        wrapped: Wrapped | None = None
        if ring is None:
            wrapped = wrap(secret, _asked(passphrase, folder), store)
        with locked(folder):
            first = read(folder)
            if first is None:
                file = KeyFile(store, _check(secret), wrapped)
                write(folder, file)
                kept = True
                return Key(folder, file, secret, ring)
    finally:
        if ring is not None and not kept:
            _drop(ring, store)
    return _existing(folder, first, passphrase, keyring)


def _storing(ring: Keyring | None, store: str, secret: bytes) -> Keyring | None:
    """Store the key in the keyring and return it; None where it does not give back what it was given."""
    if ring is None:
        return None
    try:
        ring.set_password(_SERVICE, store, secret.hex())
        if ring.get_password(_SERVICE, store) == secret.hex():
            return ring
    except Exception:  # noqa: S110 - any backend may raise anything: it is then as good as none
        pass
    _drop(ring, store)
    return None


def _drop(ring: Keyring, store: str) -> None:
    with suppress(Exception):  # it was not stored, or opens nothing
        ring.delete_password(_SERVICE, store)


def _chosen(keyring: Keyring | _System | None) -> Keyring | None:
    return system_keyring() if isinstance(keyring, _System) else keyring


def _witness_of(store: str) -> str:
    return f"{store} witness"


def _check(secret: bytes) -> bytes:
    return hmac.digest(secret, _CHECKED_TEXT, "sha256")


def _asked(passphrase: Passphrase, folder: Path) -> bytes:
    """Return the passphrase as bytes, asking for it only now."""
    if callable(passphrase):
        passphrase = passphrase()
    if passphrase is None:
        passphrase = os.environ.get(_VARIABLE)
    if passphrase is None:
        raise KeyUnavailable(
            f"{folder}: no system keyring here and no passphrase: give one, or set {_VARIABLE}; it protects the key "
            "of your history"
        )
    return _passphrase_bytes(passphrase)


def _passphrase_bytes(passphrase: str) -> bytes:
    """Return the same bytes however a keyboard composes the letters."""
    if not passphrase.strip():
        raise ConfigError("the passphrase is empty: it protects the key of your history, so choose one")
    try:
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise ConfigError("the passphrase is not valid text: choose one that can be typed") from None
