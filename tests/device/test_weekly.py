"""The weekly playlist on a real vault: stable through the week, new on Monday, never what was heard."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from fedpersona.device import starter
from fedpersona.device.clock import Clock
from fedpersona.device.link import Release
from fedpersona.device.shelf import Shelf
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.device.weekly import Level, Weekly, half_life_items
from fedpersona.plays import Plays
from fedpersona.simulation.practice import invent_crowd
from fedpersona.sources.listen import Listen
from fedpersona.taste import Subspace, create
from tests.device.invented import MARK, listens

WEDNESDAY = datetime(2026, 11, 18, 12, 0, tzinfo=UTC).timestamp()


class Person:
    """A store, a vault and a clock that a test can turn."""

    def __init__(self, folder, zone=UTC):
        self.at = WEDNESDAY
        self.store = Store(folder / "vault.db", b"k" * 32)
        self.clock = Clock(self.store, lambda: self.at)
        self.vault = Vault(self.store, self.clock)
        self.shelf = Shelf(self.store)
        self.weekly = Weekly(self.store, self.vault, self.shelf, self.clock, zone)

    def list(self):
        return self.weekly.playlist()


@pytest.fixture
def person(tmp_path):
    made = Person(tmp_path)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def release():
    crowd = invent_crowd(starter.catalogue(), 80)
    model = Subspace(dim=8)
    shared = model.init(crowd.catalogue, 0)
    for _ in range(2):
        total = None
        for one in range(len(crowd)):
            plays = crowd.plays(one)
            update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
            arrays = update.arrays
            total = dict(arrays) if total is None else {name: total[name] + arrays[name] for name in total}
        shared = model.apply(shared, type(update)(total), len(crowd))
    return Release("subspace", model.model_dump(), shared)


def played(person):
    return {(one.artist, one.title) for one in person.vault.tracks()}


def test_an_empty_vault_gets_a_list_that_says_it_is_not_personal(person):
    made = person.list()
    assert len(made) == 30
    assert made.level is Level.WELL_KNOWN
    assert "Not personal yet" in made.note
    assert all("popular" in one.reason for one in made.items)


def test_a_history_without_a_shared_model_gets_a_list_by_tags_with_reasons(person):
    person.vault.add(listens(until=int(WEDNESDAY)))
    made = person.list()
    assert made.level is Level.TAGS
    assert "no shared taste model" in made.note
    assert sum("because you played" in one.reason for one in made.items) >= 15


def test_a_history_that_the_catalogue_does_not_know_is_no_error(person):
    person.vault.add([Listen(int(WEDNESDAY) - 5000, MARK, "A Song for Nobody", (), 200)])
    made = person.list()
    assert made.level is Level.WELL_KNOWN
    assert len(made) == 30


def test_known_artists_with_unknown_tracks_are_a_taste_too_and_the_reason_says_so(person):
    at = int(WEDNESDAY)
    person.vault.add([Listen(at - 4000 * n, "Miles Davis", f"An Unknown Take {n}", (), 200) for n in range(1, 9)])
    made = person.list()
    assert made.level is Level.TAGS
    assert {one.reason for one in made.items} == {"close to the artists you play"}
    tags = dict(zip(starter.catalogue().ids, starter.catalogue().tags, strict=True))
    assert sum("jazz" in " ".join(tags[one.item]) for one in made.items) >= 15


def test_with_a_shared_model_the_list_follows_it(person, release):
    person.vault.add(listens(until=int(WEDNESDAY)))
    assert person.shelf.accept_release(release)
    made = person.list()
    assert made.level is Level.SHARED
    assert "shared taste model" in made.note
    assert sum("because you played" in one.reason for one in made.items) >= 15


def test_nothing_heard_is_on_it_and_no_artist_more_than_twice(person, release):
    person.vault.add(listens(80, until=int(WEDNESDAY)))
    person.shelf.accept_release(release)
    for _ in range(4):
        made = person.list()
        assert not {(one.artist, one.title) for one in made.items} & played(person)
        assert max(Counter(one.artist for one in made.items).values()) <= 2
        person.at += 7 * 86_400


def test_it_is_the_same_all_week_whatever_is_played_and_new_on_monday(person):
    person.vault.add(listens(until=int(WEDNESDAY)))
    first = person.list()
    person.vault.add([Listen(int(WEDNESDAY) + 60, "Nina Simone", "Feeling Good", (), 170)])
    person.at += 4 * 86_400  # Sunday
    assert person.list() == first
    person.at += 86_400
    monday = person.list()
    assert monday.week == first.week + 1
    shared = {one.item for one in monday.items} & {one.item for one in first.items}
    assert len(shared) <= 3


def test_a_more_personal_list_replaces_a_less_personal_one_within_the_week_and_never_the_other_way(person, release):
    assert person.list().level is Level.WELL_KNOWN
    person.vault.add(listens(until=int(WEDNESDAY)))
    assert person.list().level is Level.TAGS
    person.shelf.accept_release(release)
    best = person.list()
    assert best.level is Level.SHARED
    with person.store.writing() as cursor:
        cursor.execute("DELETE FROM listens")
    assert person.list() == best


@pytest.mark.parametrize(("zone", "week"), [("Pacific/Auckland", 48), ("America/Los_Angeles", 47)])
def test_monday_begins_where_the_owner_is(tmp_path, zone, week):
    person = Person(tmp_path, ZoneInfo(zone))
    person.at = datetime(2026, 11, 22, 14, 0, tzinfo=UTC).timestamp()  # Monday in Auckland, Sunday elsewhere
    assert person.list().week == week
    person.store.close()


def test_a_clock_that_is_set_back_a_day_keeps_the_list(person):
    person.vault.add(listens(until=int(WEDNESDAY)))
    person.at = datetime(2026, 11, 23, 1, 0, tzinfo=UTC).timestamp()
    monday = person.list()
    person.at -= 86_400
    assert person.list() == monday


def test_the_list_is_the_same_after_the_vault_was_closed_and_opened(tmp_path):
    person = Person(tmp_path)
    person.vault.add(listens(until=int(WEDNESDAY)))
    first = person.list()
    person.store.close()
    again = Person(tmp_path)
    assert again.list() == first
    again.store.close()


def test_two_people_with_the_same_history_get_different_explorations(tmp_path):
    lists = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        person = Person(tmp_path / name)
        person.vault.add(listens(until=int(WEDNESDAY)))
        lists.append({one.item for one in person.list().items if one.kind == "exploration"})
        person.store.close()
    assert lists[0] != lists[1]


def test_the_half_life_is_what_was_played_in_the_last_month_of_ones_own():
    days = np.array([0, 10, 29, 31, 400])
    plays = Plays(np.arange(5, dtype=np.int32), np.ones(5, np.float32), 1_700_000_000 - days * 86_400)
    assert half_life_items(plays) == 5.0  # the least
    many = Plays(
        np.arange(100, dtype=np.int32),
        np.ones(100, np.float32),
        1_700_000_000 - np.arange(100, dtype=np.int64) * 86_400,
    )
    assert half_life_items(many) == 31.0


def test_a_model_that_is_not_for_the_catalogue_is_refused_and_the_old_one_stays(person, release):
    from fedpersona.errors import PlanRefused

    person.shelf.accept_release(release)
    broken = dict(release.shared.arrays) | {"basis": np.full_like(release.shared["basis"], np.nan)}
    shared = type(release.shared)("subspace", release.shared.catalogue, 9, broken)
    with pytest.raises(PlanRefused, match="not finite"):
        person.shelf.accept_release(Release("subspace", release.settings, shared))
    with pytest.raises(PlanRefused):
        person.shelf.accept_release(Release("a program", release.settings, release.shared))
    assert person.shelf.trained.shared.hash() == release.shared.hash()
    again = Shelf(person.store)
    assert again.trained.shared.hash() == release.shared.hash(), "it is on the disk, whole"
    assert create("subspace", person.shelf.trained.model.model_dump())


def test_saved_lists_hold_every_track_and_its_reason(person, tmp_path):
    person.vault.add(listens(until=int(WEDNESDAY)))
    made = person.list()
    written = made.save(tmp_path / "weekly.xspf").read_text(encoding="utf-8")
    assert written.count("<track>") == 30
    assert "because you played" in written
    assert timedelta(seconds=made.made) > timedelta(0)
