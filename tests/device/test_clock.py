"""A clock that is set about revives nothing and shortens nothing, and is believed again in the end."""

import json
import math

import pytest

from fedpersona.device.clock import Clock
from fedpersona.device.consent_state import ConsentState
from fedpersona.device.device import Device
from fedpersona.device.store import Store
from fedpersona.errors import ClockUnsure, VaultDamaged
from tests.device.machine import Wall

START = 1_790_000_000
DAY = 86_400


def kept(store):
    with store.reading() as cursor:
        row = cursor.execute("SELECT value FROM settings WHERE name = 'clock'").fetchone()
    return None if row is None else json.loads(row[0])


def test_time_runs_with_the_systems_clock(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    assert clock.now() == START
    wall.at += 1.7
    assert clock.now() == START + 1
    assert clock.trusted() == START + 1


def test_a_day_back_stands_still_and_is_not_trusted_until_it_has_caught_up(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    clock.now()
    wall.at -= DAY
    assert clock.now() == START
    with pytest.raises(ClockUnsure, match="set back by 1 day"):
        clock.trusted()
    wall.at = START + 5
    assert clock.trusted() == START + 5


def test_ten_minutes_back_are_a_correction(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    clock.now()
    wall.at -= 600
    assert clock.trusted() == START
    wall.at -= 1
    with pytest.raises(ClockUnsure, match="10 minutes"):
        clock.trusted()


def test_going_back_is_seen_by_the_next_process(store):
    Clock(store, Wall(START + 40 * DAY)).now()
    later = Clock(store, Wall(START))
    assert later.now() == START + 40 * DAY
    with pytest.raises(ClockUnsure, match="40 days"):
        later.trusted()


def test_a_month_ahead_is_allowed(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    clock.now()
    wall.at += 31 * DAY
    assert clock.trusted() == START + 31 * DAY


def test_back_and_forth_never_runs_backwards(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    seen = []
    for move in (0, DAY, -2 * DAY, DAY // 2, 3 * DAY, -DAY, -DAY, 5, 2 * DAY):
        wall.at += move
        seen.append(clock.now())
    assert seen == sorted(seen)


def test_a_clock_that_runs_on_for_a_week_of_use_is_believed_again(store):
    wall = Wall(START + 1000 * DAY)
    Clock(store, wall).now()
    wall.at = START
    clock = Clock(store, wall)
    for _ in range(7):
        assert clock.now() == START + 1000 * DAY
        wall.at += DAY
    assert clock.trusted() == START + 7 * DAY
    assert clock.era == 1
    assert Clock(store, wall).now() == START + 7 * DAY  # and by the next process, too


def test_a_leap_while_behind_is_one_day_of_use_not_many(store):
    wall = Wall(START + 1000 * DAY)
    clock = Clock(store, wall)
    clock.now()
    wall.at = START
    for _ in range(6):
        clock.now()
        wall.at += 100 * DAY
    with pytest.raises(ClockUnsure):
        clock.trusted()


def test_set_back_again_the_week_begins_anew(store):
    wall = Wall(START + 1000 * DAY)
    clock = Clock(store, wall)
    clock.now()
    wall.at = START
    for _ in range(6):
        clock.now()
        wall.at += DAY
    wall.at -= 3 * DAY
    for _ in range(7):
        with pytest.raises(ClockUnsure):
            clock.trusted()
        wall.at += DAY
    clock.trusted()


def test_what_happened_in_a_false_future_counts_from_when_that_was_settled(store):
    wall = Wall(START + 1000 * DAY)
    clock = Clock(store, wall)
    then = clock.now()
    assert clock.age(then) == 0
    wall.at = START
    for _ in range(8):
        clock.now()
        wall.at += DAY
    assert clock.age(then) == DAY
    assert clock.age(START) == 8 * DAY


NOT_THIS_CENTURY = [0.0, 946_684_799.0, 4_102_444_800.0, 253_402_300_799.0]


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, -1.0, 1e18, *NOT_THIS_CENTURY])
def test_a_time_that_makes_no_sense_is_a_clock_that_went_back(store, nonsense):
    wall = Wall(START)
    clock = Clock(store, wall)
    clock.now()
    wall.at = nonsense
    assert clock.now() == START
    with pytest.raises(ClockUnsure, match="2000 and 2100"):
        clock.trusted()
    wall.at = START + 60
    assert clock.trusted() == START + 60


@pytest.mark.parametrize("nonsense", [math.nan, 1e18, *NOT_THIS_CENTURY])
def test_a_clock_that_made_no_sense_from_the_beginning_is_not_trusted_until_it_does(store, nonsense):
    wall = Wall(nonsense)
    clock = Clock(store, wall)
    assert clock.now() == 0
    with pytest.raises(ClockUnsure, match="set the date"):
        clock.trusted()
    wall.at = START
    assert clock.trusted() == START


def test_a_time_after_2100_that_an_earlier_version_kept_is_set_back_for_good(store):
    Clock(store, Wall(START)).now()
    high = kept(store) | {"high": 253_402_300_799}
    with store.writing() as cursor:
        cursor.execute("UPDATE settings SET value = ? WHERE name = 'clock'", (json.dumps(high).encode(),))
    wall = Wall(START)
    clock = Clock(store, wall)
    assert clock.trusted() == START
    assert clock.era == 1
    wall.at += DAY
    assert clock.age(253_402_300_000) == DAY
    assert Clock(store, wall).trusted() == START + DAY
    assert kept(store)["high"] < START + 2 * DAY


def test_the_latest_time_is_written_at_most_every_five_minutes(store):
    wall = Wall(START)
    clock = Clock(store, wall)
    clock.now()
    wall.at += 299
    assert clock.now() == START + 299
    assert kept(store)["high"] == START
    wall.at += 1
    clock.now()
    assert kept(store)["high"] == START + 300


def test_inside_a_transaction_it_is_kept_with_it_or_not_at_all(store):
    clock = Clock(store, Wall(START))
    with pytest.raises(RuntimeError), store.writing() as cursor:  # noqa: PT012 - the transaction is what is tested
        assert clock.now() == START
        assert clock.keep(cursor) == START
        raise RuntimeError
    assert kept(store) is None
    with store.writing() as cursor:
        clock.keep(cursor)
    assert kept(store)["high"] == START


def test_a_store_that_another_process_holds_does_not_stop_the_clock(store, tmp_path):
    other = Store(tmp_path / "vault.db", bytes(32))
    clock = Clock(store, Wall(START))
    with other.writing():
        assert clock.now() == START
    other.close()
    assert kept(store) is None
    assert clock.now() == START
    assert kept(store)["high"] == START


@pytest.mark.parametrize("garbage", [b"", b"[]", b'{"high": 1}', b"\xff", b"null"])
def test_a_garbled_time_is_a_named_error(store, garbage):
    with store.writing() as cursor:
        cursor.execute("INSERT INTO settings VALUES ('clock', ?)", (garbage,))
    with pytest.raises(VaultDamaged, match="latest time"):
        Clock(store, Wall(START)).now()


def test_a_device_that_was_once_in_the_year_9999_still_makes_lists_and_says_dates(tmp_path):
    wall = Wall(253_402_300_799)
    with Device.open(tmp_path / "device", clock=wall) as device:
        assert device.playlist().week
        device.consent.grant("share_update", server="https://taste.example", days=3650)
        assert str(device.consent.state("share_update", "https://taste.example"))
        assert str(device.ledger.tail())
        wall.at = START
        assert device.playlist().year == 2026
        assert str(device.consent.state("share_update", "https://taste.example"))
        device.export(tmp_path / "mine.zip")


def test_a_date_after_the_last_that_has_a_name_is_said_all_the_same():
    state = ConsentState("share_update", "https://taste.example", "granted", START, 253_402_300_799 + 365 * DAY)
    assert str(state).endswith("until after the year 9999")
