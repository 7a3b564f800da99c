import itertools
import random
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.device import vault as vault_module
from fedpersona.device.clock import Clock
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.errors import ConfigError, DiskFull
from fedpersona.sources.listen import Listen

KEY = bytes(range(32))
DAY = 86_400
NOW = 1_750_000_000
T = NOW - 100 * DAY


class Hands:
    """A clock that is set by hand."""

    def __init__(self, at=NOW):
        self.at = at

    def now(self):
        return self.at

    wall = now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def store(tmp_path):
    with closing(Store(tmp_path / "vault.db", KEY)) as opened:
        yield opened


@pytest.fixture
def vault(store, clock):
    return Vault(store, clock)


def listen(at=T, title="Harbour", artist="Nila Brandt", ids=(), seconds=None):
    return Listen(at, artist, title, tuple(ids), seconds)


def listens(count, *, start=T, step=300, tracks=40):
    return [listen(start + n * step, f"Song {n % tracks}", f"Band {n % 7}", seconds=180) for n in range(count)]


def kept(vault):
    return [(row["played_at"], row["artist"], row["title"]) for row in vault.export()]


# Adding


def test_an_empty_vault_has_nothing_and_says_so(vault):
    assert str(vault.add([])) == "0 read: 0 new listens, 0 here already"
    assert (vault.count(), vault.span(), vault.by_month(UTC), vault.top_artists()) == (0, None, [], [])
    assert (list(vault.tracks()), list(vault.export()), vault.artist_plays()) == ([], [], {})
    catalogue = Catalogue.create(["a"])
    assert len(vault.plays(catalogue)) == 0
    assert str(vault.matched(catalogue)) == "nothing is kept yet"


def test_the_same_import_twice_gives_the_same_vault(vault):
    first = vault.add(listens(500))
    before = kept(vault)
    second = vault.add(listens(500))
    assert (first.read, first.new, second.new, second.already) == (500, 500, 0, 500)
    assert kept(vault) == before
    assert second.to_dict()["already"] == 500


def test_batches_change_nothing(store, clock, monkeypatch):
    vault = Vault(store, clock)
    monkeypatch.setattr(vault_module, "_BATCH", 7)
    assert vault.add(iter(listens(100))).new == 100
    monkeypatch.undo()
    assert vault.add(listens(100)).new == 0


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_play_from_two_sources_counts_once(vault, order):
    exact = listen(T + 37, seconds=205, ids=["spotify:track:1"])
    whole_minute = listen(T, seconds=205)
    scrobbled = listen(T + 39, "HARBOUR ", "nila  brandt", ids=["mbid:2"])
    added = [vault.add([one]) for one in [exact, whole_minute, scrobbled][::order]]
    assert sum(one.new for one in added) == 1
    (track,) = vault.tracks()
    assert sorted(track.ids) == ["mbid:2", "spotify:track:1"]


def test_a_track_played_twice_in_a_row_counts_twice(vault):
    assert vault.add([listen(T, seconds=200), listen(T + 200, seconds=200)]).new == 2
    assert vault.add([listen(T + 1000), listen(T + 1120)]).new == 2
    short = [listen(T + 5000 + 45 * n, "Interlude", seconds=45) for n in range(3)]
    assert vault.add(short).new == 3


def test_two_tracks_at_one_time_are_two(vault):
    assert vault.add([listen(title="A"), listen(title="B"), listen(title="A", artist="Other")]).new == 3


def test_unicode_forms_and_case_are_one_track(vault):
    vault.add([listen(T, "Caf\u00e9", "BJ\u00d6RN"), listen(T + 500, "Cafe\u0301", "bj\u00f6rn")])
    (track,) = vault.tracks()
    assert (track.plays, track.last_played, track.artist) == (2, T + 500, "BJ\u00d6RN")


def test_ids_are_gathered_to_a_limit(vault):
    for n in range(40):
        vault.add([listen(T + n * 1000, ids=[f"spotify:track:{n}"])])
    (track,) = vault.tracks()
    assert len(track.ids) == 16
    assert track.plays == 40


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 900), st.one_of(st.none(), st.integers(20, 400))), max_size=15), st.randoms())
def test_any_history_imported_again_in_any_order_adds_nothing(tmp_path_factory, plays, rng):
    with closing(Store(tmp_path_factory.mktemp("v") / "vault.db", KEY)) as opened:
        vault = Vault(opened, Hands())
        ones = [listen(T + at, seconds=seconds) for at, seconds in plays]
        vault.add(ones)
        before = kept(vault)
        rng.shuffle(ones)
        for one in ones:
            vault.add([one])
        assert kept(vault) == before
        times = [at for at, *_ in before]
        assert all(b - a >= 30 for a, b in itertools.pairwise(times))


def test_what_cannot_be_kept_is_counted_and_the_rest_is_kept(vault):
    odd = [
        listen(NOW + 2 * DAY),
        listen(-1),
        listen(10**30),
        listen(artist="  "),
        listen(title=""),
        listen(title="\ud800 half a sign", at=T + 9),
        listen(title="x" * 100_000),
        listen(seconds=-5, title="negative", ids=["two ids", "mbid:1", ""]),
        listen(seconds=10**30, title="long"),
        listen(T + 9),
    ]
    added = vault.add(odd)
    assert (added.read, added.future, added.unusable, added.new) == (10, 1, 4, 5)
    assert "1 from the future (look at this device's clock)" in str(added)
    assert "4 without a name or a time" in str(added)
    by_title = {track.title: track.ids for track in vault.tracks()}
    assert by_title["negative"] == ("mbid:1",)
    assert "? half a sign" in by_title
    assert all(row["seconds"] is None for row in vault.export())


def test_what_an_error_stops_half_way_is_kept_up_to_there(vault, monkeypatch):
    monkeypatch.setattr(vault_module, "_BATCH", 10)

    def broken():
        yield from listens(25)
        raise OSError("the disk with the export was pulled out")

    with pytest.raises(OSError, match="pulled out"):
        vault.add(broken())
    assert vault.count() == 20
    assert vault.add(listens(30)).new == 10


def test_a_full_disk_loses_nothing_and_the_import_can_be_repeated(store, vault):
    vault.add(listens(50))
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(DiskFull):
        vault.add(listens(9000, tracks=4000))
    assert vault.count() == 50
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert vault.add(listens(9000, tracks=4000)).new > 8000
    store.check()


def test_a_long_import_stays_small(vault):
    stream = (listen(T + 90 * n, f"Song {n % 50}", f"Band {n % 50}", seconds=60) for n in range(30_000))
    tracemalloc.start()
    vault.add(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6
    assert vault.count() == 30_000


def test_two_processes_import_at_once(store, vault, tmp_path):
    script = f"""
import sys
from pathlib import Path
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.sources.listen import Listen

class Clock:
    def now(self):
        return {NOW}

    wall = now

vault = Vault(Store(Path(sys.argv[1]), bytes(range(32))), Clock())
for start in range({T}, {T} + 30 * 6000, 6000):
    vault.add([Listen(start + 300 * n, "Other", f"Song {{n}}", (), 180) for n in range(20)])
"""
    with subprocess.Popen([sys.executable, "-c", script, str(store.path)]) as other:
        for n in range(30):
            vault.add(listens(20, start=T + n * 6000))
        assert other.wait(60) == 0
    assert vault.count() == 1200
    store.check()


# Retention


def test_listens_older_than_two_years_are_not_kept_and_reported(vault):
    added = vault.add([listen(NOW - 731 * DAY), listen(NOW - 729 * DAY, "B")])
    assert (added.expired, added.new, vault.retention_days) == (1, 1, 730)
    assert "1 older than listens are kept" in str(added)


def test_what_grows_too_old_is_deleted_with_its_track_and_not_hidden(store, vault, clock):
    vault.add([listen(NOW - 700 * DAY, "Old one"), listen(NOW, "New one")])
    clock.at += 60 * DAY
    vault = Vault(store, clock)
    clock.at += DAY
    assert vault.expire() == 1
    with store.reading() as cursor:
        assert cursor.execute("SELECT title FROM tracks").fetchall() == [("New one",)]
        assert cursor.execute("SELECT count(*) FROM listens").fetchone() == (1,)
    assert Path(f"{store.path}-wal").stat().st_size == 0


@pytest.mark.parametrize("leap", [DAY, 40 * DAY, 800 * DAY, 12 * 365 * DAY])
def test_a_clock_that_leaps_ahead_and_back_deletes_nothing(store, vault, clock, leap):
    vault.add([listen(NOW - 729 * DAY), *listens(10)])
    for at in (NOW + leap, NOW + leap + 3600, NOW + 60, NOW + leap + 7200, NOW + 120, NOW + 90_000):
        clock.at = at
        Vault(store, clock).add([listen(NOW - 50 * DAY)])
        assert vault.count() == 12
    clock.at = NOW + 30 * DAY
    Vault(store, clock)
    clock.at += 2 * DAY
    Vault(store, clock)
    assert vault.count() == 11


def test_a_clock_that_leaps_back_deletes_nothing_and_keeps_the_past(store, vault, clock):
    vault.add(listens(10))
    clock.at = 0
    again = Vault(store, clock)
    assert again.expire() == 0
    assert again.count() == 10
    assert again.add([listen(T + 3)]).future == 1


def test_with_the_devices_own_clock_a_leap_and_back_deletes_nothing(store):
    system = Hands()
    vault = Vault(store, Clock(store, system.now))
    vault.add(listens(10))
    for at in (NOW + 3000 * DAY, NOW + 3001 * DAY - 60, NOW + 100, NOW + 2 * DAY, NOW + 5 * DAY):
        system.at = at
        Vault(store, Clock(store, system.now))
        assert vault.count() == 10


YEAR = 365 * DAY


def visited(store, days):
    """Open the vault with the device's own clock on each of these days, counted from now, and return what is kept."""
    system = Hands()
    for day in days:
        system.at = NOW + int(day * DAY)
        found = Vault(store, Clock(store, system.now)).count()
    return found


@pytest.mark.parametrize(
    "years",
    [
        [6, 9, 0],
        [6, 9, 12, 15, 18, 0],
        [9, 6, 3, 0],
        [6, 0, 9, 0, 6, 0, 9, 0],
        [6, 0, 6 + 2 / 365, 0, 6 + 4 / 365, 0],  # twice to nearly the same wrong date, but right in between
        [-20, 6, -20, 9, 0],
        [70, 80, -40, 0],
        [8000, 0, 8000, 0],
    ],
)
def test_a_clock_that_leaps_by_years_again_and_again_deletes_nothing(store, vault, years):
    vault.add(listens(30))
    assert visited(store, [year * 365 for year in years]) == 30
    assert visited(store, [1, 2, 5, 30]) == 30


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-30, 70), max_size=12))
def test_whatever_leaps_there_were_nothing_is_lost_and_time_that_passes_still_deletes(years):
    with TemporaryDirectory() as folder, closing(Store(Path(folder) / "vault.db", KEY)) as store:
        vault = Vault(store, Hands())
        vault.add([listen(NOW - 729 * DAY, "Old"), *listens(30)])
        days = [365 * year for year in dict.fromkeys(years)]  # two equal ones are no leap
        assert visited(store, [*days, 0]) == 31
        assert visited(store, [1, 2, 3, 4, 5, 6]) == 30
        assert visited(store, range(7, 800, 30)) == 0


def test_a_first_clock_that_was_wrong_is_not_believed_once_it_has_gone_back(store):
    far = Hands(NOW + 6 * YEAR)
    Vault(store, Clock(store, far.now))
    far.at = NOW
    Vault(store, Clock(store, far.now)).add(listens(30))
    assert visited(store, [5 * 365, 0, 4 * 365, 0]) == 30


def test_after_months_away_what_is_too_old_is_deleted_on_the_second_day(store, vault):
    vault.add([listen(NOW - 700 * DAY), *listens(10)])
    assert visited(store, [0, 400]) == 11
    assert visited(store, [401]) == 10


def test_a_small_correction_of_the_clock_delays_nothing(store, vault, clock):
    vault.add([listen(NOW - 700 * DAY), *listens(10)])
    clock.at -= 300
    Vault(store, clock)
    vault.retention_days = 365
    assert vault.count() == 10


def test_a_new_retention_is_kept_and_deletes_at_once(store, vault, clock):
    vault.add([listen(NOW - 40 * DAY), listen(NOW - 20 * DAY)])
    vault.retention_days = 30
    assert vault.count() == 1
    assert Vault(store, clock).retention_days == 30
    assert vault.add([listen(NOW - 40 * DAY)]).expired == 1


@pytest.mark.parametrize("days", [0, -1, 40_000, 1.5, True, "30", None])
def test_a_retention_that_is_none_is_refused(vault, days):
    vault.add([listen()])
    with pytest.raises(ConfigError, match="whole days"):
        vault.retention_days = days
    assert (vault.retention_days, vault.count()) == (730, 1)


def test_without_a_note_of_the_clock_nothing_is_deleted_at_first(store, vault, clock):
    vault.add(listens(5))
    with store.writing() as cursor:
        cursor.execute("DELETE FROM settings WHERE name = 'retention clock'")
    clock.at = NOW + 5000 * DAY
    assert Vault(store, clock).count() == 5


def test_opening_again_writes_nothing(store, vault, clock):
    vault.add(listens(5))
    before = store.changes()
    Vault(store, clock)
    assert store.changes() == before


# Reading


def test_counts_spans_and_artists(vault):
    vault.add([listen(T, "A", "One"), listen(T + 500, "B", "ONE"), listen(T + 900, "C", "Two")])
    assert (vault.count(), vault.span()) == (3, (T, T + 900))
    assert vault.top_artists(1) == [("One", 2)]
    assert vault.top_artists(-1) == []
    assert vault.artist_plays() == {"One": 2, "Two": 1}


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Pacific/Auckland"), ZoneInfo("America/St_Johns")])
def test_months_begin_in_the_given_zone(vault, zone):
    moments = [
        datetime(2024, 12, 31, 23, 59, 59, tzinfo=zone),
        datetime(2025, 1, 1, tzinfo=zone),
        datetime(2025, 3, 30, 2, 30, tzinfo=zone),
    ]
    vault.add([listen(int(moment.timestamp()), f"S{n}") for n, moment in enumerate(moments)])
    assert vault.by_month(zone) == [("2024-12", 1), ("2025-01", 1), ("2025-02", 0), ("2025-03", 1)]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
def test_months_begin_in_the_systems_zone_by_default(vault, monkeypatch):
    vault.add([listen(int(datetime(2025, 1, 31, 23, tzinfo=UTC).timestamp()))])
    try:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert vault.by_month() == [("2025-02", 1)]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_export_has_every_listen_in_order_and_in_pages(vault, monkeypatch):
    monkeypatch.setattr(vault_module, "_PAGE", 3)
    ones = listens(10)
    same_time = [listen(T, "Other")]
    random.Random(1).shuffle(ones)
    vault.add(ones + same_time)
    found = kept(vault)
    assert len(found) == 11
    assert found == sorted(found, key=lambda row: row[0])
    vault.add([listen(T + 99_999, ids=["mbid:1"], seconds=7)])
    assert list(vault.export())[-1] == {
        "played_at": T + 99_999,
        "artist": "Nila Brandt",
        "title": "Harbour",
        "ids": ["mbid:1"],
        "seconds": 7,
    }


# Towards a taste model


CATALOGUE = Catalogue.create(
    ["a", "b", "c"], titles=["Harbour", "Lantern", "Unheard"], artists=["Nila Brandt", "Ro", "Ro"], kind="track"
)


class ById:
    def row(self, artist, title, ids):
        return {"x": 2, "y": 0}.get(ids[0] if ids else "")


def test_plays_sum_how_often_and_keep_the_last_time(vault):
    vault.add(
        [listen(T), listen(T + 500), listen(T + 900, "harbour (Remastered 2011)"), listen(T + 100, "Lantern", "Ro")]
    )
    vault.add([listen(T + 5000, "In no catalogue")])
    plays = vault.plays(CATALOGUE)
    assert (plays.items.dtype, plays.weights.dtype, plays.last_played.dtype) == (np.int32, np.float32, np.int64)
    assert plays.items.tolist() == [0, 1]
    assert plays.weights.tolist() == [3.0, 1.0]
    assert plays.last_played.tolist() == [T + 900, T + 100]
    known = vault.matched(CATALOGUE)
    assert known.to_dict() == {"tracks": 4, "known_tracks": 3, "plays": 5, "known_plays": 4}
    assert "3 of 4 tracks, 80% of the listens" in str(known)
    assert vault.artist_plays(CATALOGUE) == {"Nila Brandt": 1}


def test_another_matcher_may_find_the_tracks(vault):
    vault.add([listen(T, "A", ids=["x"]), listen(T + 1, "B", ids=["y"]), listen(T + 2, "C")])
    plays = vault.plays(CATALOGUE, match=ById())
    assert plays.items.tolist() == [0, 2]


def test_plays_follow_what_is_added_deleted_or_learnt(store, vault, clock):
    linked = Catalogue.create(
        ["a", "b"], titles=["Other", "Same"], artists=["X", "Y"], links=[["mbid:1"], []], kind="track"
    )
    vault.add([listen(T)])
    assert len(vault.plays(linked)) == 0
    vault.add([listen(T + 900, ids=["mbid:1"])])
    assert vault.plays(linked).weights.tolist() == [2.0]
    assert vault.plays(CATALOGUE).items.tolist() == [0]
    with closing(Store(store.path, KEY)) as elsewhere:
        Vault(elsewhere, clock).add([listen(T + 2000, "Same", "Y")])
    assert vault.plays(linked).items.tolist() == [0, 1]
    vault.retention_days = 1
    assert len(vault.plays(linked)) == 0


def test_plays_that_are_given_out_again_cannot_be_changed(vault):
    vault.add([listen(T)])
    plays = vault.plays(CATALOGUE)
    assert vault.plays(CATALOGUE) is plays
    with pytest.raises(ValueError, match="read-only"):
        plays.weights[0] = 9


def test_a_number_of_a_deleted_track_is_never_given_again(vault, clock):
    vault.add([listen(NOW - 40 * DAY, "A"), listen(NOW - 40 * DAY, "B")])
    highest = max(track.track for track in vault.tracks())
    vault.retention_days = 1
    vault.add([listen(NOW - 100, "C")])
    assert next(vault.tracks()).track > highest


def test_nothing_shows_a_listen(vault):
    vault.add([listen(T)])
    shown = f"{vault!r} {list(vault.tracks())!r} {vault.plays(CATALOGUE)!r} {vault.matched(CATALOGUE)!r}"
    assert "Harbour" not in shown
    assert "Nila" not in shown
    assert str(T) not in shown
