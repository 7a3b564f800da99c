"""A folder that is whole under its name, or not there at all: it is filled under another name beside it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpersona.errors import OutputError

__all__ = ["beside"]


@contextmanager
def beside(folder: Path, *, advice: str = "name another with --out") -> Iterator[Path]:
    """Give a hidden folder next to ``folder``; whatever is left of it in the end is removed.

    Raises:
        OutputError: it cannot be made or written to; the sentence ends with the advice.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
        partial.chmod(0o777 & ~_umask())
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); {advice}") from None
    try:
        yield partial
    except OSError as error:
        raise OutputError(f"{folder}: could not be written whole ({error.strerror}); nothing of it was left") from None
    finally:
        with _uninterrupted():
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back further requests to stop while half-written files are taken away."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
