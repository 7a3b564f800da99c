"""When a device may work for others: charging, on a network that costs nothing, idle, and not in quiet hours.

A host app that knows better than the operating system gives its own :class:`Probe`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Protocol

from fedpersona.errors import ConfigError

__all__ = ["Conditions", "Probe", "Surroundings", "SystemProbe", "current_probe", "use_probe"]

_IDLE_LOAD = 0.7  # of a core, averaged over a minute and all cores
_METERED = ("wwan", "rmnet", "ppp", "ccmni", "usb")
_FREE = ("eth", "en", "wl", "wi-fi", "wifi", "ethernet", "bridge")


@dataclass(frozen=True)
class Surroundings:
    """What is so now. None where nobody can tell."""

    charging: bool | None = None
    unmetered: bool | None = None
    idle: bool | None = None
    local_time: time = field(default_factory=lambda: datetime.now().astimezone().time())


class Probe(Protocol):
    """Looks at the device. A host app implements it with what its platform knows."""

    def look(self) -> Surroundings:
        """Return what is so now, in well under a second."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What the owner wants to be so before their device works for others.

    What nobody can tell counts as not being so: the careful choice.
    """

    charging: bool = False
    unmetered: bool = False
    idle: bool = False
    quiet_hours: tuple[str, str] | None = None
    """From and to, local time, as ``("22:00", "07:00")``: nothing is done between them; midnight may lie within."""

    def __post_init__(self) -> None:
        if self.quiet_hours is not None:
            start, end = self._quiet()
            if start == end:
                raise ConfigError(f"quiet hours from {start:%H:%M} to {end:%H:%M} are none, or all day: change one")

    def _quiet(self) -> tuple[time, time]:
        try:
            start, end = (time.fromisoformat(part) for part in self.quiet_hours or ())
        except (ValueError, TypeError):
            raise ConfigError(
                f"quiet hours are two local times such as ('22:00', '07:00'), not {self.quiet_hours!r}"
            ) from None
        return start, end

    def unmet(self, now: Surroundings) -> tuple[str, ...]:
        """Return what is wanting, in words; empty where all is so."""
        wanting = []
        for wanted, found, words in (
            (self.charging, now.charging, "the device is not charging"),
            (self.unmetered, now.unmetered, "the network may cost money"),
            (self.idle, now.idle, "the device is busy"),
        ):
            if wanted and not found:
                wanting.append(words if found is False else f"{words} (or nobody can tell)")
        if self.quiet_hours is not None:
            start, end = self._quiet()
            at = now.local_time
            if start <= at < end or (start > end and (at >= start or at < end)):
                wanting.append(f"it is quiet until {end:%H:%M}")
        return tuple(wanting)


class SystemProbe:
    """What psutil can tell on Linux, macOS and Windows.

    A device without a battery counts as charging. Whether a network is metered is guessed from the names of the
    interfaces that are up: a mobile one and no other is metered. Idle means a load below 0.7 a core over the last
    minute; whether somebody sits in front of the screen is for the host app to know.
    """

    def look(self) -> Surroundings:
        """Ask the operating system."""
        import psutil  # only where conditions are asked for

        def told(ask: object) -> bool | None:
            try:
                return ask(psutil)  # type: ignore[operator, no-any-return]
            except Exception:  # a sensor that fails tells nothing
                return None

        return Surroundings(charging=told(_charging), unmetered=told(_unmetered), idle=told(_idle))


def _charging(psutil: object) -> bool | None:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return True if battery is None else battery.power_plugged


def _unmetered(psutil: object) -> bool | None:
    up = [name.lower() for name, state in psutil.net_if_stats().items() if state.isup]  # type: ignore[attr-defined]
    if any(name.startswith(_FREE) for name in up):
        return True
    return False if any(name.startswith(_METERED) for name in up) else None


def _idle(psutil: object) -> bool:
    load, _, _ = psutil.getloadavg()  # type: ignore[attr-defined]
    return bool(load / (os.cpu_count() or 1) < _IDLE_LOAD)


_probe: Probe = SystemProbe()


def use_probe(probe: Probe) -> None:
    """Look at the device through the host app's own probe from now on."""
    global _probe
    _probe = probe


def current_probe() -> Probe:
    """Return the probe in use."""
    return _probe
