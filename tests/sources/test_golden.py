"""Every invented export under tests/golden is read as the JSON beside it says, and by one format only.

Beside ``x`` stands ``x.expected.json``: ``format`` (its name), ``listens`` (played_at, artist, title, ids, seconds) in
the order of the file, and ``skipped`` (a reason and how often).
"""

import codecs
import importlib
import io
import json
import pkgutil
import time
from collections import Counter
from pathlib import Path

import pytest

import fedpersona.sources
from fedpersona.sources.format import Format, Skipped
from fedpersona.sources.listen import Listen

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = sorted(GOLDEN.rglob("*.expected.json"))
EXPORTS = [path.with_name(path.name.removesuffix(".expected.json")) for path in EXPECTED]
HEAD = 1 << 16


def every_format():
    """Find the formats in the package, so that a new one cannot be forgotten here."""
    found = []
    for module_info in pkgutil.iter_modules(fedpersona.sources.__path__):
        module = importlib.import_module(f"fedpersona.sources.{module_info.name}")
        for thing in vars(module).values():
            is_format = isinstance(thing, type) and thing is not Format and thing.__module__ == module.__name__
            if is_format and hasattr(thing, "recognises"):
                found.append(thing())
    return found


FORMATS = every_format()


def name_of(path):
    return path.relative_to(GOLDEN).as_posix()


def that_know(head):
    return [one.name for one in FORMATS if one.recognises(head)]


def read(reader, data):
    listens, skipped = [], Counter()
    for record in reader.read(io.BytesIO(data)):
        if isinstance(record, Skipped):
            skipped[record.reason] += 1
        else:
            assert isinstance(record, Listen)
            listens.append([record.played_at, record.artist, record.title, list(record.ids), record.seconds])
    return {"format": reader.name, "listens": listens, "skipped": dict(skipped)}


def expected_of(path):
    return json.loads(path.with_name(path.name + ".expected.json").read_text(encoding="utf-8"))


def reader_of(path):
    (reader,) = (one for one in FORMATS if one.name == expected_of(path)["format"])
    return reader


def test_no_export_is_without_an_expectation():
    exports = {path for path in GOLDEN.rglob("*") if path.is_file() and not path.name.endswith(".expected.json")}
    assert exports == set(EXPORTS)


def test_every_format_has_an_export():
    assert {expected_of(path)["format"] for path in EXPORTS} == {one.name for one in FORMATS}


@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_read_as_expected(path):
    assert read(reader_of(path), path.read_bytes()) == expected_of(path)


@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_exactly_one_format_knows_it(path):
    head = path.read_bytes().decode("utf-8-sig")[:HEAD]
    assert that_know(head) == [expected_of(path)["format"]]


@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_known_by_a_short_beginning_too(path):
    # 64 KiB of a real file are cut off somewhere, often in a record.
    head = path.read_bytes().decode("utf-8-sig")[:700]
    assert that_know(head) == [expected_of(path)["format"]]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be with a mark"])
@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_a_byte_order_mark_changes_nothing(path, encoding):
    text = path.read_bytes().decode()
    data = codecs.BOM_UTF16_BE + text.encode("utf-16-be") if "mark" in encoding else text.encode(encoding)
    assert read(reader_of(path), data) == expected_of(path)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_line_ends_change_nothing(path, end):
    text = path.read_bytes().decode().replace("\r\n", "\n").replace("\n", end)
    assert that_know(text[:HEAD]) == [expected_of(path)["format"]]
    assert read(reader_of(path), text.encode()) == expected_of(path)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_the_time_zone_of_the_machine_changes_nothing(path, zone, monkeypatch):
    if not hasattr(time, "tzset"):
        pytest.skip("this system cannot change its time zone while running")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        got = read(reader_of(path), path.read_bytes())
    time.tzset()
    assert got == expected_of(path)


@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_a_cut_anywhere_keeps_what_came_before(path):
    data, whole = path.read_bytes(), expected_of(path)["listens"]
    for cut in range(0, len(data), max(1, len(data) // 40)):
        listens = read(reader_of(path), data[:cut])["listens"]
        # The last record may have lost its end, and with it the id or a part of the title.
        assert listens[:-1] == whole[: max(0, len(listens) - 1)]


@pytest.mark.parametrize("path", EXPORTS, ids=name_of)
def test_a_reason_quotes_nothing(path):
    names = {word for listen in expected_of(path)["listens"] for word in (listen[1], listen[2])}
    with path.open("rb") as stream:
        for record in reader_of(path).read(stream):
            if isinstance(record, Skipped):
                assert not any(name in record.reason + record.place for name in names)


@pytest.mark.parametrize("reader", FORMATS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "head",
    [
        "",
        "\n",
        "[]",
        "{}",
        "[1, 2",
        '{"a": 1}',
        '"',
        '"unclosed, a, b\nc',
        "a,b,c\n1,2,3\n",
        "%PDF-1.7\n",
        "\x00\x00\x00",
        "a\rb,c\r\nd",
        "<html><body>Watched</body></html>",
        '{"score": 1, "created": 1718003600, "recording_mbid": null}',
        '[{"header": "Search", "title": "Searched for YouTube Music", "time": "2024-06-10T06:10:00Z"}]',
        "Track Description,Date Played,Play Duration Milliseconds\n",
        "x" * HEAD,
        '"' * HEAD,
        "[" * HEAD,
    ],
)
def test_other_files_are_not_claimed(reader, head):
    assert reader.recognises(head) is False
