"""Reading a history, wherever it lies and of whatever format: listens one at a time, and an account of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from fedpersona.errors import DataError, UnsafeArchive
from fedpersona.sources.archive import Archive, Member, is_zip
from fedpersona.sources.detect import FORMATS, HEAD, recognise
from fedpersona.sources.format import Format
from fedpersona.sources.listen import Listen
from fedpersona.sources.places import Source, find
from fedpersona.sources.summary import Summary

__all__ = ["Reading", "Summary", "read"]

_NOT_A_HISTORY = "not a listening history"
_ZIP_IN_ZIP = "a zip within a zip: unpack the outer one and give the folder"


def read(source: Source, *, name: str = "") -> Reading:
    """Read the listening history in a file, a folder or a zip.

    Which format a file is of is told by its content. Files of several formats may lie together; those that are no
    listening history are counted, not refused. The listens come in the order of the files' names, as they are in
    each: not sorted by time, and twice when two files overlap.

    Args:
        source: the path of a file, a folder (with all folders in it; links in it are not followed) or a zip, or a
            binary file that is open and can be read from its start again. Of a zip nothing is written to a disk.
        name: what the summary calls a single file; its own name by default.

    Returns:
        What can be iterated for the listens. Nothing but the list of files, and of each zip's files, is read yet.

    Raises:
        DataNotFound: nothing is there.
        UnsafeArchive: a zip that would unpack to more than it should, or names files outside of itself.
        DataError: it cannot be read; and, once all was iterated, there was no listening history in it.
    """
    return Reading(source, name=name)


class Reading:
    """The listens of one source. Iterating a second time reads it anew, with a new ``summary``.

    Raises:
        UnsafeArchive, DataError: see ``read``.
    """

    def __init__(self, source: Source, *, name: str = "") -> None:
        self._found = find(source, name)
        self.summary = Summary()
        """What came of it so far, in the iteration that began last."""
        self.bytes_read = 0
        """Bytes read so far, unpacked; those of files that were passed over count as read."""
        self.bytes_total = sum(self._size(file) for file in self._found.files)
        """Bytes there are to read, unpacked."""

    def __repr__(self) -> str:
        return f"Reading({self.summary.kept:,} kept, {self.bytes_read:,} of {self.bytes_total:,} bytes)"

    def __iter__(self) -> Iterator[Listen]:
        """Yield every listen that is kept.

        Raises:
            DataError: at the end, when no file was a listening history that can be read.
        """
        summary = self.summary = Summary()
        self.bytes_read = 0
        for file in self._found.files:
            yield from self._listens(file, summary)
        if not summary.files:
            raise DataError(_nothing(summary), path=self._found.name)

    def _size(self, file: Member) -> int:
        """Count the bytes of a file, unpacked; a zip on its own that cannot be read is said at once."""
        try:
            if not is_zip(_head(file)):
                return file.size
            with _bytes_of(file) as stream:
                return Archive(stream, file.name).size
        except DataError:
            if not self._found.is_folder:
                raise
            return file.size

    def _listens(self, file: Member, summary: Summary) -> Iterator[Listen]:
        """Yield the listens of a file or a zip; what cannot be opened is fatal only when it is all there is."""
        try:
            head = _head(file)
            if not is_zip(head):
                yield from self._of_file(file, head, summary)
                return
            with _bytes_of(file) as stream:
                inside = f"{file.name}/" if self._found.is_folder else ""
                for member in Archive(stream, file.name, inside):
                    yield from self._of_member(member, summary)
        except DataError as error:
            if not self._found.is_folder:
                raise
            summary.leave_out(_problem(error), file.name)
            self.bytes_read += file.size

    def _of_member(self, member: Member, summary: Summary) -> Iterator[Listen]:
        try:
            head = _head(member)
        except UnsafeArchive:
            raise
        except DataError as error:
            summary.leave_out(_problem(error), member.name)
            self.bytes_read += member.size
            return
        if is_zip(head):
            summary.leave_out(_ZIP_IN_ZIP, member.name)
            self.bytes_read += member.size
            return
        yield from self._of_file(member, head, summary)

    def _of_file(self, file: Member, head: bytes, summary: Summary) -> Iterator[Listen]:
        start = self.bytes_read
        kind = recognise(head)
        if kind is None:
            summary.leave_out(_NOT_A_HISTORY, file.name)
        else:
            summary.files[kind.name] = summary.files.get(kind.name, 0) + 1
            yield from self._of_kind(kind, file, summary)
        self.bytes_read = start + file.size

    def _of_kind(self, kind: Format, file: Member, summary: Summary) -> Iterator[Listen]:
        """Yield the listens of a file of a known format, up to where it is damaged."""
        records = 0
        try:
            with file.open(self._advance) as stream:
                for record in kind.read(stream):
                    records += 1
                    if isinstance(record, Listen):
                        summary.kept += 1
                        yield record
                    else:
                        summary.skip(record.reason, f"{file.name}: {record.place}")
        except UnsafeArchive:
            raise
        except DataError as error:
            summary.skip(_problem(error), f"{file.name}: after record {records}")

    def _advance(self, read: int) -> None:
        self.bytes_read += read


def _head(file: Member) -> bytes:
    with file.open() as stream:
        return stream.read(HEAD)


def _bytes_of(file: Member) -> BinaryIO:
    """Open a zip itself, to go back and forth in it."""
    return file.opener()


def _problem(error: DataError) -> str:
    """Give what an error says without its file: the summary names it."""
    return str(error).removeprefix(f"{error.path}: ")


def _nothing(summary: Summary) -> str:
    known = ", ".join(one.name for one in FORMATS)
    worse = [reason for reason in summary.others if reason != _NOT_A_HISTORY]
    why = f" ({summary.first[worse[0]]}: {worse[0]})" if worse else ""
    return f"no listening history in it that can be read{why}; what can be read: {known}"
