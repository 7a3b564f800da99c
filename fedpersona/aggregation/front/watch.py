"""What the front keeps in memory of the server's state: read again when the database changed, not for each request."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedpersona.aggregation.journal import RESTS
from fedpersona.errors import FedpersonaError, StateDamaged

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.journal import Journal
    from fedpersona.aggregation.registry import Registry
    from fedpersona.aggregation.roster import Roster

__all__ = ["LOOK_SECONDS", "STALE_SECONDS", "Picture", "Watch"]

LOOK_SECONDS = 0.2
"""So often it is looked whether the database changed: a revocation acts within this time."""
STALE_SECONDS = 5.0
"""A picture that could not be confirmed for so long lets no device through."""


@dataclass(frozen=True)
class Picture:
    """The state as it was at the last look."""

    allowed: frozenset[bytes] = frozenset()
    """Flower keys (PEM) of the devices that take part."""
    revoked: frozenset[bytes] = frozenset()
    """Flower keys (PEM) of those that were revoked."""
    bell: int = 0
    state: str = "idle"
    release: int | None = None
    """Version of the promoted model."""
    release_tag: str | None = None
    """SHA-256 of its signed file."""

    @property
    def busy(self) -> bool:
        """Whether rounds are being held, or wait for devices."""
        return self.state not in RESTS


class Watch:
    """Keeps a :class:`Picture` and wakes those who wait for the bell.

    Whether anything changed is asked of SQLite (``PRAGMA data_version``, which costs some 10 µs); only then is the
    state read.

    Args:
        path: the database file.
        roster: who is enrolled.
        journal: the bell and the state in words.
        registry: the promoted model.
        log: is told when the state cannot be read.
    """

    def __init__(
        self, path: Path, roster: Roster, journal: Journal, registry: Registry, log: FilteringBoundLogger
    ) -> None:
        self._path = path
        self._log = log
        self._roster = roster
        self._journal = journal
        self._registry = registry
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._using = threading.Lock()
        self._rang = asyncio.Event()
        self._waiting = 0
        self._over = False
        self.picture = Picture()

    @property
    def fresh(self) -> bool:
        """Whether the picture was confirmed lately; nobody is let through by an old one."""
        return time.monotonic() - self._looked < STALE_SECONDS

    @property
    def waiting(self) -> int:
        """How many wait for the bell."""
        return self._waiting

    async def look(self) -> None:
        """Bring the picture up to date if the database changed.

        Raises:
            StateDamaged: it cannot be read.
        """
        async with self._looking:
            picture = await asyncio.to_thread(self._read)
            self._looked = time.monotonic()
            if picture is None:
                return
            rings = picture.bell != self.picture.bell
            self.picture = picture
            if rings:
                self._wake()

    async def rung(self, after: int, seconds: float) -> None:
        """Return once the bell is not ``after``, or after so long, or when the front closes."""
        deadline = time.monotonic() + seconds
        self._waiting += 1
        try:
            while self.picture.bell == after and not self._over and (left := deadline - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._rang.wait()
        finally:
            self._waiting -= 1

    def release_all(self) -> None:
        """Let nobody wait any more: the front closes."""
        self._over = True
        self._wake()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look again and again, as long as the context lasts."""
        await self.look()
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self.release_all()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            # A look that was cancelled may still read in its thread: SQLite does not survive a close in the middle.
            with self._using:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None

    async def _run(self) -> None:
        failed = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                failed = False
            except FedpersonaError as error:
                if not failed:
                    self._log.error("state.unreadable", problem=str(error))
                failed = True

    def _wake(self) -> None:
        waited, self._rang = self._rang, asyncio.Event()
        waited.set()

    def _read(self) -> Picture | None:
        """Return a new picture, None where nothing changed. In a thread: a full disk may keep us waiting."""
        try:
            with self._using:
                version = self._version if self._over else self._data_version()
        except sqlite3.Error as error:
            raise StateDamaged(f"{self._path}: cannot be read ({error}): see docs/server.md, 'restore'") from None
        if version == self._version:
            return None
        devices = self._roster.devices()
        promoted = self._registry.promoted()
        condition = self._journal.state()
        picture = Picture(
            allowed=frozenset(device.flower_key for device in devices if device.revoked_at is None),
            revoked=frozenset(device.flower_key for device in devices if device.revoked_at is not None),
            bell=self._journal.bell(),
            state=condition.state,
            release=None if promoted is None else promoted.number,
            release_tag=self._registry.release_tag(),
        )
        self._version = version
        return picture

    def _data_version(self) -> int:
        if self._connection is None:
            # Threads take turns, under the lock.
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=1.0
            )
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
