"""One server to a state folder: a lock that the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpersona.errors import OutputError, ServerRunning

__all__ = ["held", "is_held"]

_NAME = "server.lock"


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold a state folder, made if it is not there.

    Raises:
        ServerRunning: another server works with it.
        OutputError: it cannot be made or written.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(state / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"{state}: cannot be written: {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerRunning(f"{state}: another server works with it: end that one, or name another state") from None
        yield
    finally:
        os.close(number)


def is_held(state: Path) -> bool:
    """Tell whether a server works with a state folder now."""
    try:
        with held(state) if (state / _NAME).exists() else _nobody():
            return False
    except ServerRunning:
        return True


@contextmanager
def _nobody() -> Iterator[None]:
    yield
