"""The demo's people, and the files that services would hand them."""

import zipfile

import pytest

from fedpersona import sources
from fedpersona.device import starter
from fedpersona.device.matching import Matcher
from fedpersona.simulation.demo.exports import FORMATS, format_of, write_export
from fedpersona.simulation.demo.people import invent

NOW = 1_750_000_000.0


@pytest.fixture(scope="module")
def people():
    return invent(starter.catalogue(), 20, seed=3, now=NOW)


def test_the_same_seed_gives_the_same_people_and_another_seed_gives_others(people):
    assert invent(starter.catalogue(), 20, seed=3, now=NOW) == people
    assert invent(starter.catalogue(), 20, seed=4, now=NOW) != people


def test_the_held_out_track_is_liked_and_nowhere_in_the_history(people):
    catalogue = starter.catalogue()
    for person in people:
        held_out = (catalogue.artists[person.held_out], catalogue.titles[person.held_out])
        assert person.held_out not in person.rows
        assert held_out not in {(play.artist, play.title) for play in person.plays}


def test_canary_names_are_in_no_catalogue_and_belong_to_one_person(people):
    catalogue = starter.catalogue()
    public = " ".join((*catalogue.ids, *catalogue.titles, *catalogue.artists)).lower()
    names = [name for person in people for name in person.canary.names]
    assert len(set(names)) == len(names) == 20 * 5
    assert not [name for name in names if name.lower() in public]
    assert min(len(name.encode()) for name in names) > 12
    for person in people:
        played = {name for play in person.plays for name in (play.artist, play.title)}
        assert {person.canary.artist, *person.canary.titles} <= played


def test_no_two_plays_begin_in_one_second_and_all_are_older_than_the_demo(people):
    times = [play.at for person in people for play in person.plays]
    assert len(set(times)) == len(times)
    assert min(times) > NOW - 370 * 86_400
    assert max(times) <= NOW - 3 * 86_400


def test_nothing_of_a_history_is_in_a_repr(people):
    told = repr(people[0]) + repr(people[0].plays[0])
    assert people[0].canary.artist not in told
    assert str(people[0].plays[0].at) not in told


def test_four_formats_and_more_take_turns(people):
    assert len(FORMATS) >= 4
    assert {format_of(person) for person in people} == set(FORMATS)


@pytest.mark.parametrize("number", range(len(FORMATS)))
def test_an_export_is_read_back_whole_by_the_reader_of_its_format(people, tmp_path, number):
    person = people[number]
    path = write_export(person, tmp_path)
    reading = sources.read(path)
    listens = list(reading)
    assert sorted((one.played_at, one.artist, one.title) for one in listens) == [
        (play.at, play.artist, play.title) for play in person.plays
    ]
    assert person.canary.user.encode() in _all_bytes(path), "a service knows its user's name"


def _all_bytes(path):
    data = path.name.encode() + path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            data += b"".join(archive.read(name) for name in archive.namelist())
    return data


def test_the_catalogue_knows_every_track_but_the_canaries(people, tmp_path):
    catalogue = starter.catalogue()
    matcher = Matcher(catalogue)
    for person in people[: len(FORMATS)]:
        rows = [matcher.row(one.artist, one.title) for one in sources.read(write_export(person, tmp_path))]
        known = {row for row in rows if row is not None}
        assert known == set(person.rows)
