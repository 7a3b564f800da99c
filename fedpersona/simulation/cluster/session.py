"""Ray for as long as somebody here uses it: a cluster of this machine's own, or a running one that is joined."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedpersona.errors import ConfigError

__all__ = ["Session", "import_ray"]

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing about a run is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of what a later version will do
    "RAY_DISABLE_IMPORT_WARNING": "1",
}
_LEAST_STORE = 80 << 20
"""Bytes below which Ray does not start an object store."""
_REACHING_SECONDS = 5.0
_REASON = 360
"""Characters of what Ray says is wrong: it may hold the traceback of another machine, whose end tells most."""


def import_ray() -> Any:
    """Return the package ``ray``, with its reports about usage off before it is read.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.update(_ENVIRONMENT)
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ConfigError(
            "the engine 'ray' needs Ray, which is not installed: pip install 'fedpersona[simulation]', "
            "or leave out --engine"
        ) from None


class Session:
    """A connection to Ray; what it started ends with it: on :meth:`close`, with the object, or with the process.

    Where this process is connected already, that connection is used, and stays.

    Args:
        address: of a running cluster: ``auto``, ``host:port`` or ``ray://host:port``; None starts one here.
        workers: how many tasks a cluster that is started here runs at once.
        store_bytes: what its object store should hold.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, address: str | None, *, workers: int, store_bytes: int) -> None:
        self.ray = import_ray()
        self.remote = address is not None
        self._end: Callable[[], Any] = weakref.finalize(self, _nothing)
        if address is not None:
            _reach(address)
        if self.ray.is_initialized():
            return
        with _own_signals(), _unclosed_files():
            if address is None:
                self._start(workers, store_bytes)
            else:
                self._join(address)

    def _start(self, workers: int, store_bytes: int) -> None:
        folder = Path(tempfile.mkdtemp(prefix="fedpersona-ray-"))
        self._end = weakref.finalize(self, _stop, self.ray, folder)
        self.ray.init(
            address="local",
            num_cpus=workers,
            num_gpus=0,
            object_store_memory=max(_LEAST_STORE, store_bytes),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(folder),
        )

    def _join(self, address: str) -> None:
        self._end = weakref.finalize(self, _stop, self.ray, None)
        try:
            self.ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self.close()
            reason = " ".join((str(error) or type(error).__name__).split())
            reason = reason if len(reason) <= _REASON else f"{reason[:60]} ... {reason[-_REASON + 60 :]}"
            raise ConfigError(f"no Ray cluster could be joined at '{address}': {reason}") from None

    def close(self) -> None:
        """End what was started, or leave what was joined; nothing where it is over already."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing() -> None:
    """End nothing: the connection is somebody else's."""


def _stop(ray: Any, folder: Path | None) -> None:
    with _unclosed_files():
        ray.shutdown()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _reach(address: str) -> None:
    """Knock at an address before Ray does, which would wait for minutes.

    Raises:
        ConfigError: it is no address, or nobody listens there.
    """
    if address in ("auto", "local"):
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigError(f"'{address}' is no address of a cluster: give auto, host:port or ray://host:port")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHING_SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise ConfigError(f"no Ray cluster answers at '{address}' ({reason}): is it running?") from None


@contextlib.contextmanager
def _unclosed_files() -> Iterator[None]:
    """Pass over Python's warnings of files and processes that Ray leaves to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's way out on SIGTERM, which Ray replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
