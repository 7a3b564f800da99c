"""The wire canary finds each form of each secret that is planted, and nothing in random bytes."""

import base64
import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from datetime import UTC, datetime

import pytest

from fedpersona.device import starter
from fedpersona.errors import ConfigError, DataError
from fedpersona.simulation.demo.canary import Canary, Secrets
from fedpersona.simulation.demo.disguises import moment_forms, text_forms
from fedpersona.simulation.demo.exports import stamps
from fedpersona.simulation.demo.finding import Finder
from fedpersona.simulation.demo.people import invent
from fedpersona.simulation.demo.streams import unpacked

PEOPLE = invent(starter.catalogue(), 8, seed=5, now=1_750_000_000.0)
CANARY = Canary(PEOPLE)
ARTIST = PEOPLE[2].canary.artist  # with a letter that is not ASCII
USER = PEOPLE[4].canary.user
AT = PEOPLE[1].plays[7].at
NOISE = random.Random(1).randbytes(30_000)


def around(form, place=11_111):
    return NOISE[:place] + form + NOISE[place:]


def found(form, name="< GET /v1/release", place=11_111):
    return CANARY.search([(name, around(form, place))]).findings


URL_SAFE = bytes.maketrans(b"+/", b"-_")


def aligned(text, offset):
    return base64.b64encode(b"xyz"[:offset] + text.encode() + b"some more")


NAMES = {
    "plain": ARTIST.encode(),
    "in capitals": USER.upper().encode(),
    "in a JSON text": json.dumps({"artist": ARTIST}).encode(),
    "latin-1": ARTIST.encode("latin-1"),
    **{f"base64, alignment {offset}": aligned(ARTIST, offset) for offset in range(3)},
    **{f"URL-safe base64, alignment {offset}": aligned(ARTIST, offset).translate(URL_SAFE) for offset in range(3)},
    "hex": ARTIST.encode().hex().encode(),
    "hex in capitals": ARTIST.encode().hex().upper().encode(),
    "UTF-16, little end first": ARTIST.encode("utf-16-le"),
    "UTF-16, big end first": ARTIST.encode("utf-16-be"),
    "zlib": zlib.compress(USER.encode()),
    "zlib, fastest": zlib.compress(USER.encode(), 1),
    "gzip": gzip.compress(USER.encode()),
    "gzip in zlib": zlib.compress(gzip.compress(USER.encode())),
    "base64 in gzip": gzip.compress(aligned(USER, 1)),
}


@pytest.mark.parametrize("form", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("frame", ["> POST /v1/fleet/push-object", "< GET /v1/release"])
def test_a_name_is_found(form, frame):
    assert found(form, frame)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_name_in_a_zip_is_found(compression):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        archive.writestr("a/deep/path.json", json.dumps([USER] * 20))
    assert found(made.getvalue())


WHEN = datetime.fromtimestamp(AT, UTC)
TIMES = {
    "seconds": str(AT).encode(),
    "milliseconds": str(AT * 1000 + 123).encode(),
    "seconds in JSON": json.dumps({"listened_at": AT}).encode(),
    "ISO text": WHEN.strftime("%Y-%m-%dT%H:%M:%SZ").encode(),
    "ISO text with a blank": WHEN.isoformat(" ").encode(),
    "ISO text in UTF-16": WHEN.isoformat().encode("utf-16-le"),
    "base64 of seconds": base64.b64encode(f'{{"ts": {AT}}}'.encode()),
    "hex of seconds": str(AT).encode().hex().encode(),
    "int64, little end first": struct.pack("<q", AT),
    "int64, big end first": struct.pack(">q", AT),
    "int64 of milliseconds": struct.pack("<q", AT * 1000),
    "double": struct.pack("<d", AT),
    "double, big end first": struct.pack(">d", float(AT)),
    "gzip of seconds": gzip.compress(str(AT).encode()),
}


@pytest.mark.parametrize("form", TIMES.values(), ids=TIMES)
def test_a_time_is_found(form):
    assert found(form)


def test_a_protocol_buffers_number_of_milliseconds_is_found():
    from google.protobuf.wrappers_pb2 import UInt64Value

    assert found(UInt64Value(value=AT * 1000).SerializeToString())


def test_the_end_of_a_play_is_a_time_too_where_the_export_tells_it():
    person = PEOPLE[0]  # Spotify tells when a play ended
    play = person.plays[0]
    assert stamps(person, play) == (play.at, play.at + play.seconds)
    assert found(str(play.at + play.seconds).encode())


def test_a_name_of_the_catalogue_may_go_down_and_never_up():
    name = max(CANARY.catalogued, key=len).encode()
    assert not found(name, "< GET /v1/catalogue")
    (finding,) = [one for one in found(name, "> POST /v1/enrol") if one.form == "plain"]
    assert (finding.what, finding.frame, finding.compressed) == (name.decode(), "> POST /v1/enrol", False)


def test_a_name_in_the_address_of_a_request_is_found():
    assert CANARY.search([(f"> GET /v1/models/{USER}", b"")]).findings


@pytest.mark.parametrize("place", [0, 1, 2, 3, len(NOISE)])
def test_a_name_is_found_at_any_place(place):
    assert found(USER.encode(), place=place)


def test_a_name_across_two_pieces_of_a_search_is_found_once():
    text = USER.encode()
    data = bytes((1 << 22) - 5) + text + bytes(100)
    assert list(Finder([text]).find(data)) == [(text, (1 << 22) - 5)]


def test_random_bytes_hold_nothing():
    noise = random.Random(2).randbytes(4_000_000)
    report = CANARY.search([("> POST /v1/fleet/push-object", noise)])
    assert not report.findings
    assert report.bytes_up == len(noise)


def test_what_was_searched_is_counted():
    frames = [("> POST /a", b"12345"), ("< POST /a", b"1234567"), ("> GET /b", gzip.compress(b"some words"))]
    report = CANARY.search(frames)
    assert (report.requests, report.bytes_down, report.streams, report.bytes_unpacked) == (2, 7, 1, 10)


def test_short_names_are_not_looked_for_plain_and_that_is_said():
    secrets = Secrets()
    secrets.add_text("U2")
    secrets.add_text("Motörhead")
    assert secrets.passed_over == {"U2"}
    assert list(secrets.find("by motörhead".encode())) == [("Motörhead", "lower case")]


def test_the_rehearsal_finds_all_it_plants_and_tells_when_it_does_not():
    request = ("> POST /v1/enrol", NOISE[:2000])
    planted, of = CANARY.rehearse(*request)
    assert planted == of > 50
    blind = Canary(PEOPLE)
    blind.anywhere = Secrets()
    fewer, of = blind.rehearse(*request)
    assert fewer < of


def test_every_form_is_long_enough_not_to_turn_up_by_chance():
    for _, form in (*text_forms("U2"), *text_forms("Nas"), *text_forms("Adèle"), *moment_forms(AT)):
        assert len(form) >= 6
    with pytest.raises(ConfigError, match="found everywhere"):
        Finder([b"short"])


# -- streams --


def test_a_stream_that_is_cut_off_gives_what_can_be_read():
    whole = zlib.compress(random.Random(3).randbytes(50) + USER.encode() * 30 + random.Random(4).randbytes(500))
    assert any(USER.encode() in content for content in unpacked(whole[:-300]))


def test_a_bomb_is_an_error_and_not_a_clean_bill(monkeypatch):
    monkeypatch.setattr("fedpersona.simulation.demo.streams._LARGEST", 1 << 20)
    bomb = zlib.compress(bytes(2 << 20), 9)
    with pytest.raises(DataError, match="MiB"):
        list(unpacked(bomb))


def test_a_stream_too_deep_is_an_error_and_not_a_clean_bill():
    data = USER.encode()
    for _ in range(6):
        data = zlib.compress(data)
    with pytest.raises(DataError, match="too deep"):
        list(unpacked(data))


def test_things_that_begin_like_a_stream_and_are_none_hold_nothing_up():
    assert not list(unpacked(b"PK\x03\x04" * 50 + b"\x1f\x8b\x08" * 50 + b"\x78\x9c" * 50))
