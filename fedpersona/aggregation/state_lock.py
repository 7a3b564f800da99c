"""One server, and one coordinator, to a state folder: locks that the system lets go of when their holder ends.

However it ends: so a lock also tells whether its holder still lives.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpersona.errors import OutputError, ServerRunning

__all__ = ["COORDINATOR", "SERVER", "held", "is_held"]

SERVER, COORDINATOR = "server.lock", "coordinator.lock"
_LOOK = 0.1  # seconds between two looks whether it is free


@contextmanager
def held(state: Path, name: str = SERVER, *, wait: float = 0.0) -> Iterator[None]:
    """Hold a state folder, made if it is not there.

    Args:
        state: the folder.
        name: which of its locks.
        wait: seconds to wait for another holder to end.

    Raises:
        ServerRunning: another server works with it.
        OutputError: it cannot be made or written.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(state / name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutputError(f"{state}: cannot be written: {error.strerror or error}") from None
    try:
        deadline = time.monotonic() + wait
        while not _taken(number):
            if time.monotonic() >= deadline:
                raise ServerRunning(f"{state}: another server works with it: end that one, or name another state")
            time.sleep(_LOOK)
        yield
    finally:
        os.close(number)


def is_held(state: Path, name: str = SERVER) -> bool:
    """Tell whether a server, or a coordinator, works with a state folder now."""
    try:
        with held(state, name) if (state / name).exists() else _nobody():
            return False
    except ServerRunning:
        return True


def _taken(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _nobody() -> Iterator[None]:
    yield
