"""When to train: pure functions over plain values, so that a clock and a fleet can be invented to test them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Config", "Devices", "History", "Rounds", "Schedule", "due", "next_look", "wait_after"]

_DAY = 86_400.0
_FIRST_WAIT = 60.0  # seconds after one failure
_LONGEST_WAIT = 3600.0
_LONGEST_LOOK = 2.0  # seconds: how late a newly enrolled device may be noticed
_SHORTEST_LOOK = 1.0


class Schedule(Protocol):
    """The section ``schedule`` of a server's configuration."""

    @property
    def kind(self) -> str:
        """``one-shot`` or ``standing``."""
        ...

    @property
    def every_days(self) -> float:
        """Days after which a standing federation learns again."""
        ...

    @property
    def new_devices(self) -> int | None:
        """Newly enrolled devices after which it does so earlier; None: never earlier."""
        ...


class Rounds(Protocol):
    """The section ``rounds`` of a server's configuration."""

    @property
    def wait_for(self) -> int:
        """Fewest devices with which a training begins."""
        ...


class Config(Protocol):
    """What of a server's configuration counts here."""

    @property
    def schedule(self) -> Schedule:
        """When to train."""
        ...

    @property
    def rounds(self) -> Rounds:
        """What a round needs."""
        ...


@dataclass(frozen=True)
class History:
    """The trainings so far."""

    running: bool
    """Whether one has begun and not ended; after a kill it is to be gone on with."""
    finished: int
    """How many finished."""
    finished_at: float | None
    """When the last one did, Unix seconds."""
    failures: int = 0
    """Runs that failed in a row since the last that did not."""
    failed_at: float | None = None
    """When the last of them did, Unix seconds."""
    halted: bool = False
    """Whether the privacy budget pays for no further round; only the operator can change that."""
    newest_device: int = 0
    """Number of the last device that was enrolled when the last training finished."""


@dataclass(frozen=True)
class Devices:
    """The devices so far, without those that were revoked."""

    enrolled: int
    new: int = 0
    """Those that enrolled since the last training finished."""


def wait_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: a minute, doubled with each, up to an hour."""
    return 0.0 if failures < 1 else min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures - 1, 10))


def due(config: Config, now: float, trainings: History, devices: Devices) -> bool:
    """Tell whether to start a run now.

    A training that was interrupted is always due, once the wait after failures is over. A one-shot federation trains
    until one training has finished; a standing one again when ``every_days`` have passed since, or ``new_devices``
    have enrolled. Nothing is due while the privacy budget is spent.

    Args:
        config: the server's configuration.
        now: Unix seconds. Times that seem to be far in the future are of a clock that was wrong: they do not hold
            a training back for longer than they would have in the past.
        trainings: those so far.
        devices: those so far.
    """
    if trainings.halted or _left(now, trainings.failed_at, wait_after(trainings.failures)) > 0:
        return False
    if trainings.running:
        return True
    if devices.enrolled < config.rounds.wait_for:
        return False
    if trainings.finished == 0:
        return True
    if config.schedule.kind != "standing":
        return False
    enough = config.schedule.new_devices
    if enough is not None and devices.new >= enough:
        return True
    return _left(now, trainings.finished_at, config.schedule.every_days * _DAY) <= 0


def next_look(config: Config, now: float, trainings: History, devices: Devices) -> float:
    """Return the seconds after which to ask :func:`due` again: 0 if it is due, else 1 to 2: devices enrol any time."""
    if due(config, now, trainings, devices):
        return 0.0
    waits = [_left(now, trainings.failed_at, wait_after(trainings.failures))]
    if config.schedule.kind == "standing":
        waits.append(_left(now, trainings.finished_at, config.schedule.every_days * _DAY))
    soonest = min((wait for wait in waits if wait > 0), default=_LONGEST_LOOK)
    return min(_LONGEST_LOOK, max(_SHORTEST_LOOK, soonest))


def _left(now: float, since: float | None, wait: float) -> float:
    """Return the seconds that are left of a wait; a start further in the future than the wait is not believed."""
    return 0.0 if since is None else wait - abs(now - since)
