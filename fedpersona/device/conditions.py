"""When a device may work for others: charging, on a network that costs nothing, idle, and not in quiet hours.

A host app that knows better than the operating system gives its own :class:`Probe`.
"""

from __future__ import annotations

import os
import sys
import time as clocks
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time
from ipaddress import ip_address
from typing import Any, Protocol

from fedpersona.errors import ConfigError

__all__ = ["Conditions", "Probe", "Surroundings", "SystemProbe", "current_probe", "use_probe"]

_IDLE_LOAD = 0.7  # of a core, averaged over a minute and all cores
_METERED = ("ww", "rmnet", "ppp", "ccmni", "usb", "cellular", "mobile")
_FREE = ("eth", "en", "wl", "wi-fi", "wifi")
_NO_LOAD_YET = 6.0  # seconds; on Windows psutil's first load average comes after five, and zeros before it


def _now() -> time:
    return datetime.now().astimezone().time()


@dataclass(frozen=True)
class Surroundings:
    """What is so now. None where nobody can tell."""

    charging: bool | None = None
    unmetered: bool | None = None
    idle: bool | None = None
    local_time: time = field(default_factory=_now)
    """The time on the owner's clock."""


class Probe(Protocol):
    """Looks at the device. A host app implements it with what its platform knows."""

    def look(self) -> Surroundings:
        """Return what is so now, in well under a second."""
        ...


@dataclass(frozen=True)
class Conditions:
    """What the owner wants to be so before their device works for others.

    What nobody can tell counts as not being so: the careful choice.

    Raises:
        ConfigError: the quiet hours are not two different local times.
    """

    charging: bool = False
    unmetered: bool = False
    idle: bool = False
    quiet_hours: tuple[str, str] | None = None
    """From and to, local time, as ``("22:00", "07:00")``: nothing is done between them; midnight may lie within.

    They are compared with the clock on the wall, so a night when the clocks change keeps them too.
    """

    def __post_init__(self) -> None:
        for name in ("charging", "unmetered", "idle"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"conditions: {name} is True or False, not {getattr(self, name)!r}")
        if self.quiet_hours is not None:
            start, end = self._quiet()
            if start == end:
                raise ConfigError(f"quiet hours from {start:%H:%M} to {end:%H:%M} are none, or all day: change one")

    def _quiet(self) -> tuple[time, time]:
        try:
            if isinstance(self.quiet_hours, str):
                raise TypeError
            start, end = (time.fromisoformat(part) for part in self.quiet_hours or ())
            if start.tzinfo or end.tzinfo:
                raise ValueError
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
            at = now.local_time.replace(tzinfo=None)
            if start <= at < end or (start > end and (at >= start or at < end)):
                wanting.append(f"it is quiet until {end:%H:%M}")
        return tuple(wanting)


class SystemProbe:
    """What psutil can tell on Linux, macOS and Windows, without privileges and in a few milliseconds.

    A device without a battery counts as charging.

    Whether a network is metered is a guess from the names of the interfaces that are up and have an address: Ethernet
    or Wi-Fi is not metered, a mobile interface and neither of them is, and of other names nobody can tell. So a
    phone's hotspot, reached over Wi-Fi, is taken for a free network; no system service is asked that would know.

    Idle means a load below 0.7 a core over the last minute; whether somebody sits in front of the screen is for the
    host app to know.
    """

    def __init__(self) -> None:
        self._first_look: float | None = None

    def look(self) -> Surroundings:
        """Ask the operating system; what fails is not known."""
        return Surroundings(charging=_told(_charging), unmetered=_told(_unmetered), idle=_told(self._idle))

    def _idle(self, psutil: Any) -> bool | None:
        load, _, _ = psutil.getloadavg()
        if self._first_look is None:
            self._first_look = clocks.monotonic()
        if sys.platform == "win32" and clocks.monotonic() - self._first_look < _NO_LOAD_YET:
            return None
        return bool(load / (os.cpu_count() or 1) < _IDLE_LOAD)


def _told(ask: Callable[[Any], bool | None]) -> bool | None:
    try:
        import psutil  # only where conditions are asked for

        return ask(psutil)
    except Exception:  # a sensor that fails tells nothing
        return None


def _charging(psutil: Any) -> bool | None:
    battery = psutil.sensors_battery()  # where psutil has no such function, nobody can tell
    if battery is None:
        return True
    return None if battery.power_plugged is None else bool(battery.power_plugged)


def _unmetered(psutil: Any) -> bool | None:
    names = list(_connected(psutil))
    if any(name.startswith(_FREE) for name in names):
        return True
    return False if any(name.startswith(_METERED) for name in names) else None


def _connected(psutil: Any) -> Iterator[str]:
    """Yield the names of the interfaces that are up and have an address that leads somewhere, in lower case."""
    addresses = psutil.net_if_addrs()
    for name, state in psutil.net_if_stats().items():
        if state.isup and any(_leads_out(one.address) for one in addresses.get(name, ())):
            yield name.lower()


def _leads_out(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:  # a hardware address
        return False
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


class _Careful:
    """A probe that never raises: where it fails, nobody can tell."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def look(self) -> Surroundings:
        try:
            found = self.probe.look()
        except Exception:  # the app's mistake must not end the background work
            return Surroundings()
        return found if isinstance(found, Surroundings) else Surroundings()


_probe: Probe = _Careful(SystemProbe())


def use_probe(probe: Probe | None) -> None:
    """Look at the device through the host app's own probe from now on; None goes back to :class:`SystemProbe`.

    A probe that raises, or returns anything but :class:`Surroundings`, counts as not being able to tell.
    """
    global _probe
    _probe = probe if isinstance(probe, _Careful) else _Careful(probe or SystemProbe())


def current_probe() -> Probe:
    """Return the probe in use; it never raises."""
    return _probe
