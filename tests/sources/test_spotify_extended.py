"""Spotify's extended history: the end of a stream and its length give the start; nothing personal gets past."""

import gc
import io
import json
import secrets

import pytest

from fedpersona import sources
from fedpersona.errors import DataError
from fedpersona.sources.format import Skipped
from fedpersona.sources.listen import Listen
from fedpersona.sources.spotify_extended import SpotifyExtended
from tests.sources.exports import exports

NOW = 1_720_000_000
URI = "spotify:track:Inventd0Track000000001"
GOOD = {
    "ts": "2024-06-10T06:13:20Z",
    "ms_played": 200_000,
    "master_metadata_track_name": "Low Tide",
    "master_metadata_album_artist_name": "Paper Lanterns",
    "spotify_track_uri": URI,
    "incognito_mode": False,
}
PERSONAL = (
    "username",
    "platform",
    "conn_country",
    "ip_addr",
    "ip_addr_decrypted",
    "user_agent",
    "user_agent_decrypted",
    "city",
    "region",
    "metro_code",
    "longitude",
    "latitude",
    "offline_timestamp",
    "a key that nobody knows yet",
)


def read(data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return list(SpotifyExtended(clock=lambda: NOW).read(io.BytesIO(data)))


def one(**changes):
    (record,) = read([{**GOOD, **changes}])
    return record


def reason(**changes):
    record = one(**changes)
    assert isinstance(record, Skipped)
    assert record.place == "record 1"
    return record.reason


def test_the_start_is_the_end_less_the_length():
    assert one() == Listen(1_718_000_000 - 200, "Paper Lanterns", "Low Tide", (URI,), 200)


@pytest.mark.parametrize(("ms", "seconds", "start"), [(30_000, 30, -30), (30_001, 30, -31), (200_999, 200, -201)])
def test_parts_of_a_second_go_down(ms, seconds, start):
    listen = one(ms_played=ms)
    assert (listen.seconds, listen.played_at) == (seconds, 1_718_000_000 + start)


@pytest.mark.parametrize("ts", ["2024-06-10T06:13:20Z", "2024-06-10T06:13:20", "2024-06-10T08:13:20+02:00"])
def test_a_time_is_utc_unless_it_says_otherwise(ts):
    assert one(ts=ts).played_at == 1_717_999_800


@pytest.mark.parametrize(
    "ts", [None, "", "2024-06-10", "now", 1718000000, [], {}, "2024-13-40T99:99:99Z", "x" * 10_000]
)
def test_a_time_that_is_none(ts):
    assert reason(ts=ts) == "no time that can be read"


@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00Z", "1970-01-01T00:05:00Z", "1994-12-31T23:59:59Z"])
def test_a_time_before_there_were_players(ts):
    assert reason(ts=ts) == "a time before 1995 or in the future"


def test_a_time_in_the_future():
    assert isinstance(one(ts="2024-07-04T09:46:40Z"), Listen)  # a day ahead of the clock, less the length
    assert reason(ts="2024-07-04T09:50:01Z") == "a time before 1995 or in the future"
    assert reason(ts="9999-12-31T23:59:59Z") == "a time before 1995 or in the future"


@pytest.mark.parametrize("ms", [0, 1, 29_999, 29_999.9])
def test_what_was_hardly_played(ms):
    assert reason(ms_played=ms) == "played for less than 30 seconds"


def test_a_length_with_a_fraction_is_one():
    assert one(ms_played=200_000.0).seconds == 200


@pytest.mark.parametrize("ms", [None, "200000", True, -1, 86_400_001, 10**20, 10**400, 1e308, [], {}])
def test_a_length_that_is_none(ms):
    # Without it the start is not known.
    assert reason(ms_played=ms) == "no playing time that can be read"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_a_number_that_json_does_not_have_costs_its_own_record_only(number):
    text = json.dumps([{**GOOD, "ms_played": 123454321}, GOOD]).replace("123454321", number)
    bad, good = read(text.encode())
    assert bad.reason == "no playing time that can be read"
    assert isinstance(good, Listen)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_key_that_is_missing(key):
    (record,) = read([{name: value for name, value in GOOD.items() if name != key}])
    assert isinstance(record, Listen) is (key in ("spotify_track_uri", "incognito_mode"))


@pytest.mark.parametrize("name", [None, "", "  ", "\x00", "\u200b", 7, [], {}, "x" * 1001, "\ud800"])
@pytest.mark.parametrize("key", ["master_metadata_album_artist_name", "master_metadata_track_name"])
def test_a_name_that_is_none(key, name):
    words = {"no artist that can be read", "no title that can be read", "a video, or a track without a name"}
    assert reason(**{key: name}) in words


def test_names_are_cleaned():
    listen = one(master_metadata_track_name=" Low\x00\t Tide\x1b ", master_metadata_album_artist_name="Bjo\u0308rk\n")
    assert (listen.artist, listen.title) == ("Björk", "Low Tide")


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "",
        7,
        "spotify:local:Paper+Lanterns::Low+Tide:200",
        "spotify:episode:Inventd0Track000000001",
        "spotify:track:short",
        "spotify:track:Inventd0Track00000000-1",
        URI + "1",
        "x" * 10_000,
    ],
)
def test_an_id_that_is_none_costs_the_id_only(uri):
    assert one(spotify_track_uri=uri).ids == ()


def test_a_private_session_is_left_out_whatever_else_it_is():
    assert reason(incognito_mode=True) == "a private session"
    assert reason(incognito_mode=True, ms_played=None, ts=None) == "a private session"
    assert reason(incognito_mode=True, master_metadata_track_name=None, episode_name="x") == "a private session"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"episode_name": "x"}, "a podcast"),
        ({"spotify_episode_uri": "spotify:episode:x"}, "a podcast"),
        ({"audiobook_title": "x"}, "an audiobook"),
        ({"audiobook_uri": "spotify:show:x"}, "an audiobook"),
        ({}, "a video, or a track without a name"),
    ],
)
def test_what_is_no_track(fields, words):
    assert reason(master_metadata_track_name=None, master_metadata_album_artist_name=None, **fields) == words


@pytest.mark.parametrize("name", exports("spotify-extended"))
def test_known_minified_and_indented(name):
    text = exports("spotify-extended")[name].decode()
    for indent in (None, 1, 4):
        assert SpotifyExtended().recognises(json.dumps(json.loads(text)[:9], indent=indent))


@pytest.mark.parametrize(
    "head",
    [json.dumps(GOOD), "[]", '[{"ts": 1}]', '[{"a": "\\"ts\\": \\"ms_played\\": \\"master_metadata_track_name\\":"}]'],
)
def test_what_is_no_such_list_is_not_known(head):
    assert not SpotifyExtended().recognises(head)


def planted(folder, mark):
    """Write a file whose personal fields hold a mark; nothing that holds it stays in memory but the mark itself."""
    records = [
        {**GOOD, **{key: f"{mark}-{key}" for key in PERSONAL}},
        {**GOOD, **{key: {"deep": [f"{mark}-{key}"]} for key in PERSONAL}, "ms_played": f"{mark}-ms"},
        {**GOOD, **{key: f"{mark}-{key}" for key in PERSONAL}, "ts": f"{mark}-ts"},
        {**{key: f"{mark}-{key}" for key in PERSONAL}, "episode_name": f"{mark}-episode"},
    ]
    text = json.dumps(records * 500)
    (folder / "a.json").write_text(text[:-1] + f', {{"username": "{mark}-cut')


def holding(mark):
    """List the texts in memory that hold the mark: the values of all objects that Python's collector knows."""
    gc.collect()
    found = []
    for thing in gc.get_objects():
        for held in gc.get_referents(thing):
            kind = type(held)  # not isinstance: it asks an object for its class, and some packages' objects then warn
            is_held = issubclass(kind, str | bytes | bytearray) and held is not mark
            if is_held and (mark in held if issubclass(kind, str) else mark.encode() in held):
                found.append(type(thing))
    return found


def test_the_search_for_leaks_finds_one():
    mark = secrets.token_hex(16)
    leak = [f"{mark}-ip"]
    assert list in holding(mark)
    assert leak


def test_nothing_personal_is_left_in_memory(tmp_path):
    mark = secrets.token_hex(16)
    planted(tmp_path, mark)
    assert holding(mark) == [], "the test itself keeps nothing"
    reading = sources.read(tmp_path)
    listens = list(reading)
    assert len(listens) == 500
    assert reading.summary.read == 2001
    assert holding(mark) == []
    assert mark not in f"{reading.summary}{reading.summary.to_dict()}{reading}"
    assert mark not in "".join(f"{listen.artist}{listen.title}{listen.ids}" for listen in listens)


def test_no_error_holds_anything_personal(tmp_path):
    mark = secrets.token_hex(16)
    (tmp_path / "a.json").write_text(json.dumps({"username": f"{mark}-name", "ip_addr": f"{mark}-ip"}))
    with pytest.raises(DataError) as caught:
        list(sources.read(tmp_path))
    assert mark not in f"{caught.value!r} {caught.value}"
    assert holding(mark) == [], "neither the error nor its traceback has a piece of the file"


def test_what_is_yielded_holds_wanted_fields_only(tmp_path):
    mark = secrets.token_hex(16)
    planted(tmp_path, mark)
    iterator = iter(sources.read(tmp_path / "a.json"))
    listen = next(iterator)
    # Half-way the reader has a piece of the file; what it has handed out has none.
    assert {type(held) for held in gc.get_referents(listen)} <= {str, int, tuple, type, type(None)}
    assert mark not in repr(gc.get_referents(listen))
    iterator.close()
    assert holding(mark) == [], "a reading that is given up keeps nothing"
