"""JSON logs of a server: what happened, with the ids of trainings and rounds, and never anything of a device's."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["JsonLog", "OutputFile"]

_LARGEST = 10 << 20  # bytes of one file
_KEPT = 5


class JsonLog:
    """One file of JSON lines, ``<name>.jsonl``; the older ones beside it as ``.1`` to ``.5``.

    Args:
        folder: made if it is not there.
        name: of the process that writes it: no two processes may write the same file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        self._handler = RotatingFileHandler(
            self.path, maxBytes=_LARGEST, backupCount=_KEPT, encoding="utf-8", delay=True
        )
        self._logger = logging.Logger(f"fedpersona.{name}")  # its own, no handler of the root's sees it
        self._logger.addHandler(self._handler)

    def logger(self) -> FilteringBoundLogger:
        """Return a logger: ``log.info("round.ended", training=…, round=…)``; times are UTC."""
        wrapped: FilteringBoundLogger = structlog.wrap_logger(
            self._logger,
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=False,
        )
        return wrapped

    def close(self) -> None:
        """Close the file."""
        self._logger.removeHandler(self._handler)
        self._handler.close()


class OutputFile:
    """Where a child's own output goes: a plain file, put aside when the child starts and it has grown large."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.log"

    def descriptor(self) -> int:
        """Return a new descriptor to append with; the caller closes it."""
        import os

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > _LARGEST:
            self.path.replace(self.path.with_suffix(".log.1"))
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
