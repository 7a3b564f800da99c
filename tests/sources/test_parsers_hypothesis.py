"""Whatever the bytes: Spotify's readers yield listens and problems, and ``sources.read`` raises its own errors only."""

import io
import json
import math
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedpersona import sources
from fedpersona.errors import DataError
from fedpersona.sources.detect import FORMATS
from fedpersona.sources.fields import EARLIEST, number
from fedpersona.sources.format import Skipped
from fedpersona.sources.json_array import records
from fedpersona.sources.listen import Listen
from fedpersona.sources.spotify_basic import SpotifyBasic
from fedpersona.sources.spotify_extended import SpotifyExtended
from tests.sources.exports import BESIDE, exports, packed

NOW = 1_720_000_000
GOOD = {
    SpotifyExtended: {
        "ts": "2024-06-10T06:13:20Z",
        "ms_played": 200_000,
        "master_metadata_track_name": "Low Tide",
        "master_metadata_album_artist_name": "Paper Lanterns",
        "spotify_track_uri": "spotify:track:Inventd0Track000000001",
        "episode_name": None,
        "incognito_mode": False,
    },
    SpotifyBasic: {
        "endTime": "2024-06-10 06:13",
        "artistName": "Paper Lanterns",
        "trackName": "Low Tide",
        "msPlayed": 200_000,
    },
}
KINDS = list(GOOD)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.just("2024-06-10T06:13:20Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
GOLDEN = {name: data for kind in ("spotify-extended", "spotify-basic") for name, data in exports(kind).items()}
ZIP = packed({**GOLDEN, **BESIDE}).getvalue()


def read(kind, data):
    return list(kind(clock=lambda: NOW).read(io.BytesIO(data)))


def check(found):
    for record in found:
        if isinstance(record, Listen):
            assert EARLIEST <= record.played_at <= NOW + 86_400
            assert 30 <= record.seconds <= 86_400
            for name in (record.artist, record.title):
                assert 0 < len(name) <= 1000
                assert not any(char < " " or char == "\x7f" for char in name)
                assert name == name.strip()
                assert name.encode()
            assert all(one.startswith("spotify:track:") and len(one) == 36 for one in record.ids)
        else:
            assert isinstance(record, Skipped)
            assert record.place.startswith("record ")


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=80)
@given(data=st.binary(max_size=2000))
def test_any_bytes(kind, data):
    check(read(kind, data))
    check(read(kind, b"[" + data))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_value_of_any_field_costs_its_own_record_only(kind, data):
    good = GOOD[kind]
    changes = data.draw(st.dictionaries(st.sampled_from([*good, "ip_addr"]), JSON, min_size=1))
    found = read(kind, json.dumps([good, {**good, **changes}, good]).encode())
    check(found)
    assert len(found) == 3
    assert isinstance(found[0], Listen)
    assert found[0] == found[2]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(cut=st.floats(0, 1, exclude_max=True), indent=st.sampled_from([None, 2]))
def test_a_cut_anywhere_keeps_every_record_before_it(kind, cut, indent):
    text = json.dumps([GOOD[kind]] * 20, indent=indent)
    text = text[: int(len(text) * cut)]
    found = read(kind, text.encode())
    check(found)
    assert [type(one) for one in found] == [Listen] * text.count("}") + [Skipped]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_damage_to_a_good_file(kind, data):
    good = bytearray(json.dumps([GOOD[kind]] * 4).encode())
    first = data.draw(st.integers(len(good) // 2, len(good) - 1))
    for place in (first, *data.draw(st.lists(st.integers(first, len(good) - 1), max_size=4))):
        good[place] = data.draw(st.integers(0, 255))
    found = read(kind, bytes(good))
    check(found)
    assert isinstance(found[0], Listen)


@settings(deadline=None, max_examples=150)
@given(st.lists(JSON, max_size=6), st.sampled_from([None, 0, 3]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@example([{}, [], ""], None, "utf-8")
def test_a_list_is_read_as_the_standard_library_reads_it(elements, indent, encoding):
    wanted = {key for element in elements if isinstance(element, dict) for key in element}
    text = json.dumps(elements, indent=indent)
    got = [getattr(one, "fields", None) for one in records(io.BytesIO(text.encode(encoding)), wanted)]
    assert got == [plain(one) if isinstance(one, dict) else None for one in elements]


def plain(value):
    """Say what is to be read of a value: no NaN, no infinity, no integer of over 20 digits."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    is_long = isinstance(value, int) and not isinstance(value, bool) and len(str(value)) > 20
    return None if is_long else value


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_any_damage_to_a_zip_is_named_or_read(data):
    damaged = bytearray(ZIP)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    named_or_read(bytes(damaged))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, len(ZIP)), st.integers(0, len(ZIP)))
def test_any_piece_of_a_zip_is_named_or_read(start, end):
    named_or_read(ZIP[start:end])


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=600), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"[", b"#AUDIOSCROBBLER/1.1\n"]))
def test_any_upload_is_named_or_read(data, start):
    named_or_read(start + data)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(min_size=1, max_size=12), st.sampled_from([*GOLDEN.values(), b""]), max_size=4))
def test_any_names_in_a_zip_are_named_or_read(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name.encode("utf-8", "replace").decode()
            archive.writestr(info, data)
    named_or_read(made.getvalue())


def named_or_read(data):
    """Read an upload; whatever it is, it has listens, or one clear error."""
    try:
        reading = sources.read(io.BytesIO(data), name="upload")
        listens = list(reading)
    except DataError as error:
        words = str(error)
    else:
        assert all(isinstance(listen, Listen) for listen in listens)
        assert reading.summary.files
        assert reading.bytes_read <= reading.bytes_total
        words = "upload: " + str(reading.summary).replace("\n", "")
    assert words.startswith("upload: ")
    assert not any(sign in words for sign in "\n\r\x1b\x00")


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=300))
@pytest.mark.parametrize("kind", FORMATS, ids=lambda one: one.name)
def test_recognising_any_text_raises_nothing(kind, text):
    assert kind.recognises(text) in (True, False)


@pytest.mark.parametrize("text", ["1718000000\x1c", "\x1f12", "\x85 12 \u2028"])
def test_a_number_with_any_space_around_it_is_one(text):
    assert number(text) == float(text.strip())
