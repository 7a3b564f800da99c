"""The system's keyring, where there is one that keeps a secret."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Keyring", "system_keyring"]

_TRUSTED_PRIORITY = 1.0  # what keyring recommends; below are those that keep a secret in a plain file, or not at all


class Keyring(Protocol):
    """What is asked of a keyring; the ``keyring`` package's backends have it."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return what was stored, None where nothing was."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store a secret."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Delete a secret."""
        ...


def system_keyring() -> Keyring | None:
    """Return the system's keyring, None where there is none that protects what it keeps.

    The package is imported only here: it takes a quarter of the time that opening a device may take.
    """
    try:
        import keyring

        backend: Keyring = keyring.get_keyring()
        return backend if float(getattr(backend, "priority", 0)) >= _TRUSTED_PRIORITY else None
    except Exception:  # any backend may raise anything, also while it looks for itself
        return None
