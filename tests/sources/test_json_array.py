"""A JSON list is read record by record, whatever is in it, and only what is asked for is kept."""

import codecs
import io
import itertools
import json
import tracemalloc

import pytest

from fedpersona.sources.format import Skipped
from fedpersona.sources.json_array import LONGEST_RECORD, Record, records

BROKEN = "cut off, or not valid JSON, from here to the end of the file"


def read(data, wanted=("a", "b")):
    data = data.encode() if isinstance(data, str) else data
    return [one.reason if isinstance(one, Skipped) else one.fields for one in records(io.BytesIO(data), wanted)]


class Pieces(io.RawIOBase):
    """A file that is invented as it is read."""

    def __init__(self, pieces):
        self._pieces, self._rest = iter(pieces), b""

    def readable(self):
        return True

    def readinto(self, buffer):
        while len(self._rest) < len(buffer) and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


@pytest.mark.parametrize("text", ["[]", " [ ] ", "[\n]\n"])
def test_an_empty_list_has_no_record(text):
    assert read(text) == []


@pytest.mark.parametrize("text", ["", " ", "{}", "1", '"', "nul", "]", ",", "\x00", "<html>", "[]]", "[,]", "[ ] x"])
def test_what_is_no_list_is_one_problem(text):
    assert read(text) == [BROKEN]


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
def test_white_space_means_nothing(indent):
    assert read(json.dumps([{"a": 1}, {"b": [2]}, {}], indent=indent)) == [{"a": 1}, {"b": [2]}, {}]


def test_only_what_is_asked_for_is_kept():
    assert read('[{"ip": "203.0.113.7", "a": 1, "c": {"a": 2}}]') == [{"a": 1}]


def test_the_last_of_two_values_counts():
    assert read('[{"a": 1, "a": 2}]') == [{"a": 2}]


@pytest.mark.parametrize("text", ["1", "null", "[]", '"x"', "NaN", "[[{}]]"])
def test_an_element_that_is_no_object_is_one_problem_and_costs_nothing_else(text):
    assert read(f'[{{"a": 1}}, {text}, {{"a": 2}}]') == [{"a": 1}, "not a record of a play", {"a": 2}]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400, "-" + "9" * 5000])
def test_a_number_that_is_none_costs_nothing_else(number):
    assert read(f'[{{"a": {number}, "b": 1}}, {{"a": 2}}]') == [{"a": None, "b": 1}, {"a": 2}]


@pytest.mark.parametrize("number", ["1e400", "-1e99999999999999999999", "1." + "3" * 5000])
def test_a_number_out_of_range_costs_nothing_else(number):
    assert len(read(f'[{{"a": {number}}}, {{"a": 2}}]')) == 2


@pytest.mark.parametrize(
    "rest", ["", ",", ", ", ',{"a"', ',{"a": ', ',{"a": 2', ',{"a": "x', ',{"a": "\\', ',{"a": "\\ud8', ", tru"]
)
def test_a_file_cut_off_keeps_what_came_before(rest):
    assert read('[{"a": 1}' + rest) == [{"a": 1}, BROKEN]


@pytest.mark.parametrize(
    "rest", ['{"a": 2}', ":", "}", ', {"a": 2}}', ", {'a': 2}]", ",]", ",,]", ', {"a": 2,}]', "][{}]", "] x"]
)
def test_what_is_no_json_ends_the_file_with_one_problem(rest):
    got = read('[{"a": 1}' + rest)
    assert got[0] == {"a": 1}
    assert got[-1] == BROKEN
    assert got.count(BROKEN) == 1


def test_the_problem_has_its_place():
    *_, last = records(io.BytesIO(b'[{"a": 1}, {"a": 2}, {"a": '), ("a",))
    assert last.place == "record 3"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_without_end_is_one_problem(opening):
    assert read('[{"a": 1}, ' + opening * 200_000) == [{"a": 1}, BROKEN]


def peak_of(pieces):
    """Read a list that was never in memory whole; give how many came of it and the most memory it took."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in records(Pieces(pieces), ("a",)))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file():
    record = b'{"a": 1, "b": "' + b"x" * 700 + b'"}'
    pieces = itertools.chain([b"[" + record], itertools.repeat(b"," + record, 19_999), [b"]"])
    count, peak = peak_of(pieces)
    assert count == 20_000  # 14 MB of them
    assert peak < 2_000_000


@pytest.mark.parametrize("begin", [b'[{"a": "', b'[{"a": [', b'[{"b": 1'])
def test_a_record_too_long_to_be_one_is_given_up(begin):
    # 64 MB of it; a number goes on as digits, a list as its elements.
    count, peak = peak_of(itertools.chain([begin], itertools.repeat(b"1" * 65_536, 1000)))
    assert count == 1
    assert peak < 20 * LONGEST_RECORD


def test_records_come_one_at_a_time():
    stream = io.BytesIO(b"[" + b",".join([b'{"a": 1}'] * 100_000) + b"]")
    next(records(stream, ("a",)))
    assert stream.tell() < 200_000


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_pieces_of_any_length_give_the_same(step):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(step)

    text = '\ufeff[{"a": "é東\\n𝄞"}, 12, {"b": [1, {"c": null}]}]'
    got = [getattr(one, "fields", None) for one in records(Slow(text.encode()), ("a", "b"))]
    assert got == [{"a": "é東\n𝄞"}, None, {"b": [1, {"c": None}]}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be with a mark"])
def test_every_encoding_with_a_mark(encoding):
    text = '[{"a": "é東𝄞"}]'
    data = codecs.BOM_UTF16_BE + text.encode("utf-16-be") if "with" in encoding else text.encode(encoding)
    assert read(data) == [{"a": "é東𝄞"}]


def test_bytes_that_are_no_text_cost_their_own_letter():
    assert read(b'[{"a": "caf\xe9"}, {"a": "\xff\xfe\x80"}, {"a": 1}]')[::2] == [{"a": "caf\ufffd"}, {"a": 1}]


def test_a_line_end_or_a_nul_within_a_name_costs_nothing():
    assert read('[{"a": "x\ny\x00"}, {"a": "\\u0000\\ud800"}]') == [{"a": "x\ny\x00"}, {"a": "\x00\ud800"}]


def test_a_repr_shows_nothing():
    assert "Low Tide" not in repr(Record("record 1", {"a": "Low Tide"}))
