"""Lines and rows of files that are long, damaged, or not what they say."""

import codecs
import io
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.sources.format import Skipped
from fedpersona.sources.text import LONGEST_LINE, Utf8, lines, rows


class Failing(io.RawIOBase):
    """A stream that gives some bytes and then fails."""

    def __init__(self, data, error):
        self._data, self._error = data, error

    def read(self, size=-1):
        if not self._data:
            raise self._error
        taken, self._data = self._data[:10], self._data[10:]
        return taken


def texts_of(data):
    return [one if isinstance(one, Skipped) else one.text for one in lines(io.BytesIO(data))]


def fields_of(data):
    return [one.reason if isinstance(one, Skipped) else one.fields for one in rows(io.BytesIO(data))]


def test_an_empty_file_has_no_lines():
    assert texts_of(b"") == []
    assert fields_of(b"\n \r\n\n") == []


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_line(end):
    found = list(lines(io.BytesIO(end.join(["a", "", "b", "c"]).encode())))
    assert [(one.number, one.text) for one in found] == [(1, "a"), (3, "b"), (4, "c")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_tells_the_encoding(encoding):
    assert texts_of("Mørke\nTrær 東".encode(encoding)) == ["Mørke", "Trær 東"]


def test_big_endian_marks():
    assert texts_of(codecs.BOM_UTF16_BE + "Trær".encode("utf-16-be")) == ["Trær"]
    assert texts_of(codecs.BOM_UTF32_BE + "Trær".encode("utf-32-be")) == ["Trær"]


def test_a_letter_cut_in_half_by_the_reading_is_whole():
    data = ("æ" * 200_000).encode()
    stream = Utf8(io.BytesIO(data))
    assert b"".join(iter(lambda: stream.read(1001), b"")) == data
    assert Utf8(io.BytesIO(data)).read() == data


def test_bytes_that_are_no_text_are_replaced_and_the_rest_is_read():
    assert texts_of(b"a\xff\nb") == ["a\ufffd", "b"]


def test_ten_megabytes_without_a_line_end_cost_one_line():
    first, middle, last = texts_of(b"a\n" + b"x" * 10_000_000 + b"\nb")
    assert (first, last) == ("a", "b")
    assert isinstance(middle, Skipped)
    assert middle.place == "line 2"


def test_the_longest_line_is_read_and_one_character_more_is_not():
    assert texts_of(b"x" * LONGEST_LINE) == ["x" * LONGEST_LINE]
    (skipped,) = texts_of(b"x" * (LONGEST_LINE + 1))
    assert isinstance(skipped, Skipped)


@pytest.mark.parametrize(
    "error", [OSError("gone"), EOFError(), zlib.error("damaged"), zipfile.BadZipFile("Bad CRC-32")], ids=repr
)
def test_a_stream_that_fails_keeps_what_came_before(error):
    *kept, last = lines(Failing(b"a\nb\nc, half", error))
    assert [one.text for one in kept] == ["a", "b"]
    assert (last.reason, last.place) == ("the file cannot be read further", "line 3")
    assert Utf8(Failing(b"a\nb", error)).read() == b"a\nb"


def test_a_limit_of_the_archive_is_not_hidden():
    with pytest.raises(RuntimeError, match="too large"):
        list(lines(Failing(b"a\nb", RuntimeError("too large"))))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b", [["a", "b"]]),
        (b"a,", [["a", ""]]),
        (b'"a,b",c', [["a,b", "c"]]),
        (b'"a ""b""",c', [['a "b"', "c"]]),
        (b'7" single,b', [['7" single', "b"]]),
        (b'"a\nb",c\nd,e', [["a\nb", "c"], ["d", "e"]]),
        (b'"a\n\nb",c', [["a\nb", "c"]]),
        (b"a\x00,b", [["a\x00", "b"]]),
        (b'"a,b\nc,d\ne,f', ["a quote that is not closed", ["c", "d"], ["e", "f"]]),
        (b'"a,b\n"c","d"\ne,f', ["a quote that is not closed", ["c", "d"], ["e", "f"]]),
        (b'"a"b,c\nd,e', ["a quote that is not closed", ["d", "e"]]),
        (b'a,b\n"', [["a", "b"], "a quote that is not closed"]),
        (b'"a,b\n"c,d\n"e","f"', ["a quote that is not closed", "a quote that is not closed", ["e", "f"]]),
    ],
)
def test_a_row_and_its_quotes(data, expected):
    assert fields_of(data) == expected


def test_a_quote_that_never_closes_costs_one_row_of_many():
    data = b'"a,b\n' + b"c,d\n" * 1000
    assert fields_of(data) == ["a quote that is not closed", *[["c", "d"]] * 1000]


def test_rows_know_their_lines():
    found = list(rows(io.BytesIO(b'"a\nb",c\n"d,e\nf,g\n')))
    assert [one.place if isinstance(one, Skipped) else one.number for one in found] == [1, "line 3", 4]


def test_a_field_as_long_as_a_line_can_be_is_no_error():
    assert fields_of(b'"' + b"x" * (LONGEST_LINE + 5) + b'",b\nc,d')[-1] == ["c", "d"]
    assert fields_of(b'"' + b"x" * (LONGEST_LINE - 10) + b'",b\nc,d')[-1] == ["c", "d"]


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_no_bytes_make_it_fail(data):
    for found in (*lines(io.BytesIO(data)), *rows(io.BytesIO(data))):
        assert not isinstance(found, Skipped) or found.reason


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"]), max_size=20)))
def test_text_comes_back_as_it_was(written):
    assert texts_of("\n".join(written).encode()) == [line for line in written if line and not line.isspace()]
