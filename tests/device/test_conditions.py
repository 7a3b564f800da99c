from __future__ import annotations

import subprocess
import sys
import time as clocks
from collections.abc import Iterator
from datetime import UTC, datetime, time
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.device import conditions
from fedpersona.device.conditions import Conditions, Surroundings, SystemProbe, current_probe, use_probe
from fedpersona.errors import ConfigError

NOON = time(12)
ALL = Conditions(charging=True, unmetered=True, idle=True)


@pytest.fixture(autouse=True)
def own_probe_again() -> Iterator[None]:
    yield
    use_probe(None)


def at(clock: str) -> Surroundings:
    return Surroundings(True, True, True, time.fromisoformat(clock))


# What the owner demands.


@pytest.mark.parametrize(
    "hours",
    [
        (),
        ("22:00",),
        ("22:00", "07:00", "08:00"),
        ("25:00", "07:00"),
        ("22:00", "late"),
        ("22:00", None),
        (22, 7),
        ("22:00+01:00", "07:00+01:00"),
        "10",
        "22:00-07:00",
        7,
    ],
)
def test_quiet_hours_that_are_no_two_local_times_are_refused(hours):
    with pytest.raises(ConfigError, match="two local times"):
        Conditions(quiet_hours=hours)


def test_quiet_hours_of_no_length_are_refused():
    with pytest.raises(ConfigError, match="none, or all day"):
        Conditions(quiet_hours=("22:00", "22:00"))


def test_nothing_demanded_is_always_met():
    assert Conditions().unmet(Surroundings(False, False, False, NOON)) == ()
    assert Conditions().unmet(Surroundings()) == ()


def test_what_is_wanting_is_said_in_words():
    assert ALL.unmet(Surroundings(False, False, False, NOON)) == (
        "the device is not charging",
        "the network may cost money",
        "the device is busy",
    )
    assert ALL.unmet(Surroundings(True, True, True, NOON)) == ()
    assert Conditions(idle=True).unmet(Surroundings(False, False, True, NOON)) == ()


def test_what_nobody_can_tell_counts_as_not_being_so():
    assert ALL.unmet(Surroundings(True, None, True, NOON)) == ("the network may cost money (or nobody can tell)",)
    assert len(ALL.unmet(Surroundings())) == 3


@pytest.mark.parametrize(
    ("hours", "quiet", "loud"),
    [
        (("22:00", "07:00"), ("22:00", "23:59:59", "00:00", "06:59:59.999999"), ("07:00", "12:00", "21:59:59")),
        (("01:00", "05:30"), ("01:00", "05:29:59"), ("00:59:59", "05:30", "23:00")),
        (("00:00", "12:00"), ("00:00", "11:59"), ("12:00", "23:59")),
        (("12:00", "00:00"), ("12:00", "23:59:59"), ("00:00", "11:59")),
    ],
)
def test_quiet_hours_begin_at_their_first_minute_end_before_their_last_and_may_go_over_midnight(hours, quiet, loud):
    wanted = Conditions(quiet_hours=hours)
    for clock in quiet:
        assert wanted.unmet(at(clock)) == (f"it is quiet until {hours[1]}",)
    for clock in loud:
        assert wanted.unmet(at(clock)) == ()


@given(st.times(), st.times(), st.times())
def test_a_time_is_quiet_in_exactly_one_of_some_hours_and_the_hours_between_them(start, end, clock):
    if start != end:
        hours = start.isoformat(), end.isoformat()
        now = Surroundings(local_time=clock)
        assert bool(Conditions(quiet_hours=hours).unmet(now)) != bool(Conditions(quiet_hours=hours[::-1]).unmet(now))


def test_a_time_with_a_zone_is_taken_as_the_owners_clock_shows_it():
    now = Surroundings(local_time=time(23, tzinfo=UTC))
    assert Conditions(quiet_hours=("22:00", "07:00")).unmet(now)


@pytest.mark.skipif(not hasattr(clocks, "tzset"), reason="time zones of POSIX")
@pytest.mark.parametrize(
    ("utc", "shown"),
    [
        ("2026-03-29T00:59:59", "01:59:59"),  # the clock goes from 02:00 to 03:00
        ("2026-03-29T01:00:00", "03:00"),
        ("2026-10-25T00:30:00", "02:30"),  # and back from 03:00 to 02:00
        ("2026-10-25T01:30:00", "02:30"),
    ],
)
def test_on_a_night_when_the_clocks_change_the_clock_on_the_wall_counts(utc, shown, monkeypatch):
    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(utc).replace(tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(conditions, "datetime", Then)
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    clocks.tzset()
    try:
        now = Surroundings()
    finally:
        monkeypatch.undo()
        clocks.tzset()
    assert now.local_time == time.fromisoformat(shown)
    assert bool(Conditions(quiet_hours=("22:00", "02:45")).unmet(now)) == (shown != "03:00")


# What the system can tell.


def address(text: str) -> SimpleNamespace:
    return SimpleNamespace(address=text)


def looks(monkeypatch, **sensors) -> Surroundings:
    """What the probe sees where psutil's functions return these values, or raise them."""
    for name, value in sensors.items():

        def sensor(value=value):
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(psutil, name, sensor, raising=False)
    return SystemProbe().look()


def network(monkeypatch, *names: str, down: tuple[str, ...] = (), addresses: tuple[str, ...] = ("192.168.1.5",)):
    return looks(
        monkeypatch,
        net_if_stats={name: SimpleNamespace(isup=name not in down) for name in names},
        net_if_addrs={name: [address("aa:bb:cc:dd:ee:ff"), *map(address, addresses)] for name in names},
    ).unmetered


def test_a_device_without_a_battery_counts_as_charging(monkeypatch):
    assert looks(monkeypatch, sensors_battery=None).charging is True


@pytest.mark.parametrize("plugged", [True, False, None])
def test_a_battery_charges_when_it_says_so(plugged, monkeypatch):
    assert looks(monkeypatch, sensors_battery=SimpleNamespace(power_plugged=plugged)).charging is plugged


def test_where_the_system_cannot_tell_of_batteries_nobody_can(monkeypatch):
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    assert SystemProbe().look().charging is None


@pytest.mark.parametrize("name", ["eth0", "enp3s0", "en0", "wlan0", "wlp2s0", "Ethernet 2", "Wi-Fi", "WLAN"])
def test_ethernet_and_wifi_are_not_metered(name, monkeypatch):
    assert network(monkeypatch, "lo", name) is True
    assert network(monkeypatch, "rmnet0", name) is True


@pytest.mark.parametrize("name", ["wwan0", "wwp0s20f0u6", "rmnet_data0", "ppp0", "ccmni1", "usb0", "Cellular"])
def test_a_mobile_interface_alone_is_metered(name, monkeypatch):
    assert network(monkeypatch, "lo", name) is False
    assert network(monkeypatch, name, "eth0", "wlan0", down=("eth0", "wlan0")) is False


@pytest.mark.parametrize("names", [(), ("lo",), ("tun0", "docker0", "veth12")])
def test_of_other_interfaces_nobody_can_tell(names, monkeypatch):
    assert network(monkeypatch, *names) is None


@pytest.mark.parametrize("addresses", [(), ("127.0.0.1", "::1"), ("169.254.3.4", "fe80::1%eth0"), ("0.0.0.0",)])
def test_an_interface_whose_addresses_lead_nowhere_does_not_count(addresses, monkeypatch):
    assert network(monkeypatch, "eth0", addresses=addresses) is None


def test_an_interface_with_a_newer_address_counts(monkeypatch):
    assert network(monkeypatch, "eth0", addresses=("fe80::1%eth0", "2001:db8::7")) is True


@pytest.mark.parametrize(("load", "idle"), [(0.0, True), (2.7, True), (2.8, False), (90.0, False)])
def test_idle_is_a_low_load_a_core(load, idle, monkeypatch):
    monkeypatch.setattr(conditions.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(sys, "platform", "linux")
    assert looks(monkeypatch, getloadavg=(load, 0.0, 0.0)).idle is idle


def test_the_first_zeros_of_windows_are_not_taken_for_idleness(monkeypatch):
    times = iter((100.0, 100.0, 105.0, 107.0))
    monkeypatch.setattr(conditions, "clocks", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.0, 0.0, 0.0))
    probe = SystemProbe()
    assert [probe._idle(psutil) for _ in range(3)] == [None, None, True]


def test_each_sensor_that_fails_is_not_known_and_the_others_are(monkeypatch):
    broken = OSError("no such file")
    seen = looks(monkeypatch, sensors_battery=broken, net_if_stats=broken, getloadavg=(0.0, 0.0, 0.0))
    assert (seen.charging, seen.unmetered, seen.idle) == (None, None, None if sys.platform == "win32" else True)
    assert looks(monkeypatch, getloadavg=broken).idle is None


def test_without_psutil_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    seen = SystemProbe().look()
    assert (seen.charging, seen.unmetered, seen.idle) == (None, None, None)


def test_psutil_is_loaded_only_when_somebody_looks():
    code = "import sys, fedpersona.device.conditions; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_this_machine_can_be_looked_at():
    assert isinstance(current_probe().look(), Surroundings)


# A host app's own probe.


class Fixed:
    def __init__(self, found: object) -> None:
        self.found = found

    def look(self) -> Surroundings:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found  # type: ignore[return-value]


def test_an_app_gives_its_own_probe_and_takes_it_back():
    seen = Surroundings(True, False, True, NOON)
    use_probe(Fixed(seen))
    assert current_probe().look() == seen
    before = current_probe()
    use_probe(Fixed(Surroundings()))
    use_probe(before)
    assert current_probe().look() == seen
    use_probe(None)
    assert current_probe().look() != seen


@pytest.mark.parametrize("found", [RuntimeError("app"), None, {"charging": True}])
def test_a_probe_that_fails_counts_as_not_being_able_to_tell(found):
    use_probe(Fixed(found))
    assert len(ALL.unmet(current_probe().look())) == 3
