"""The lines and rows of a file whose encoding, length and honesty are unknown. Memory does not grow with the file."""

from __future__ import annotations

import codecs
import csv
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fedpersona.sources.format import Skipped

__all__ = ["LONGEST_LINE", "Line", "Row", "Utf8", "first_lines", "first_rows", "lines", "rows"]

LONGEST_LINE = 1 << 17
"""Characters of a line; a longer one holds no listen, and csv refuses a longer field too."""

_CHUNK = 1 << 16
_MOST_LINES_OF_A_ROW = 8

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# What a stream raises that is cut off, or whose compressed bytes were damaged. A limit of the archive is not among
# them: it stops the whole reading.
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


class Line(NamedTuple):
    """One line, without its end."""

    number: int
    text: str


class Row(NamedTuple):
    """One row of a table; a quoted field may hold line ends, so the next number may be more than one further."""

    number: int
    fields: list[str]


def _encoding(head: bytes) -> tuple[str, int]:
    """Name the encoding that the first bytes tell, and how many of them are the mark; UTF-8 when there is none."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return "utf-8", 0


def _texts(stream: BinaryIO) -> Iterator[str]:
    """Decode a stream piece by piece; bytes that are no text become U+FFFD, which no kept name may hold."""
    head, failure = b"", None
    try:
        while len(head) < 4 and (more := stream.read(_CHUNK)):  # enough for a mark
            head += more
    except _UNREADABLE as error:
        failure = error
    encoding, mark = _encoding(head)
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    yield decoder.decode(head[mark:])
    if failure is not None:
        raise failure
    while chunk := stream.read(_CHUNK):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


class Utf8:
    """A stream as UTF-8 without a byte order mark, for parsers of bytes, whatever its encoding was."""

    def __init__(self, stream: BinaryIO) -> None:
        self._texts = _texts(stream)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes (all when negative); no bytes at the end, and where it cannot be read further."""
        while size < 0 or len(self._rest) < size:
            try:
                text = next(self._texts, None)
            except _UNREADABLE:
                text = None
            if text is None:
                break
            self._rest += text.encode()
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def first_lines(head: str, count: int) -> list[str]:
    """Split the first ``count`` lines off the beginning of a file; the last one may be cut off."""
    found = head.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").split("\n", count)
    return found[:count]


def first_rows(head: str, count: int) -> list[list[str]]:
    """Split the first ``count`` lines of a table into fields; lines that are no row are left out."""
    return [fields for line in first_lines(head, count) if (fields := _split(line))]


def lines(stream: BinaryIO) -> Iterator[Line | Skipped]:
    """Yield every line that is not blank; a line over ``LONGEST_LINE`` characters, or a broken end, is a ``Skipped``.

    A line ends with LF, CR LF or CR.
    """
    ends = io.IncrementalNewlineDecoder(None, translate=True)
    number, rest, dropping = 1, "", False
    try:
        for text in _texts(stream):
            *whole, rest = (rest + ends.decode(text)).split("\n")
            for line in whole:
                yield from _line(number, line, dropping)
                number, dropping = number + 1, False
            if len(rest) > LONGEST_LINE:
                rest, dropping = "", True
    except _UNREADABLE:
        yield Skipped("the file cannot be read further", f"line {number}")
        return
    yield from _line(number, rest, dropping)


def _line(number: int, text: str, too_long: bool) -> Iterator[Line | Skipped]:
    if too_long or len(text) > LONGEST_LINE:
        yield Skipped(f"a line of more than {LONGEST_LINE:,} characters", f"line {number}")
    elif text and not text.isspace():
        yield Line(number, text)


def rows(stream: BinaryIO) -> Iterator[Row | Skipped]:
    """Yield every row of comma-separated values (RFC 4180); a row that is none, is a ``Skipped``.

    A quote that never closes costs its own line, not the rest of the file: the lines taken for its row are read anew.
    """
    source = lines(stream)
    waiting: list[Line | Skipped] = []
    while (line := waiting.pop(0) if waiting else next(source, None)) is not None:
        if isinstance(line, Skipped):
            yield line
        elif '"' not in line.text:
            yield Row(line.number, line.text.split(","))
        else:
            yield _quoted(line, source, waiting)


def _quoted(first: Line, source: Iterator[Line | Skipped], waiting: list[Line | Skipped]) -> Row | Skipped:
    """Read a row with quotes, over as many lines as it takes; lines that turn out not to be of it are left waiting."""
    text, used = first.text, 0
    while True:
        fields = _split(text)
        if fields is not None:
            del waiting[:used]
            return Row(first.number, fields)
        if used == len(waiting) and (line := next(source, None)) is not None:
            waiting.append(line)
        following = waiting[used] if used < len(waiting) else None
        if not isinstance(following, Line) or used == _MOST_LINES_OF_A_ROW or len(text) > LONGEST_LINE:
            return Skipped("a quote that is not closed", f"line {first.number}")
        text, used = f"{text}\n{following.text}", used + 1


def _split(text: str) -> list[str] | None:
    """Split a row strictly; None when it is not one: a quote is open, or has something else than a comma after it."""
    try:
        # The reader is fed as a list of one: an open quote is an error in strict mode, not a wait for more.
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        return None
