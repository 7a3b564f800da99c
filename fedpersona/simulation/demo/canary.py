"""The canary on the wire: no name and no time of any history in what passed between devices and server.

Names of the public catalogue travel down to devices by design. So every person also has names that no catalogue has:
these, and the times of all plays, are looked for in all traffic; in what devices send, every name of a history is.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fedpersona.simulation.demo.disguises import Form, moment_forms, text_forms
from fedpersona.simulation.demo.exports import stamps
from fedpersona.simulation.demo.finding import Finder
from fedpersona.simulation.demo.people import Person
from fedpersona.simulation.demo.streams import unpacked

__all__ = ["Canary", "Finding", "Report", "Secrets"]


@dataclass(frozen=True)
class Finding:
    """Something of a history that was found in the traffic."""

    what: str
    """The name, or the time as text."""
    form: Form
    frame: str
    """Of the recording: ``> POST /v1/enrol`` is what a device sent, ``< …`` what it got."""
    compressed: bool


@dataclass
class Report:
    """What was looked through, and what was found."""

    bytes_up: int = 0
    bytes_down: int = 0
    requests: int = 0
    streams: int = 0
    """Compressed streams that were unpacked and looked through as well."""
    bytes_unpacked: int = 0
    findings: list[Finding] = field(default_factory=list)


class Secrets:
    """What is looked for, in all its forms."""

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[str, Form]] = {}
        self._folded: dict[bytes, tuple[str, Form]] = {}
        self.passed_over: set[str] = set()
        """Texts with no form that is long enough to be looked for."""

    def add_text(self, text: str) -> None:
        """Look for a text."""
        self._add(text, text_forms(text))

    def add_moment(self, at: int) -> None:
        """Look for a time, Unix seconds."""
        self._add(str(at), moment_forms(at))

    def _add(self, what: str, forms: Iterable[tuple[Form, bytes]]) -> None:
        found = False
        for form, data in forms:
            (self._folded if form == "lower case" else self._found).setdefault(data, (what, form))
            found |= form == "plain"
        if not found:
            self.passed_over.add(what)

    def __len__(self) -> int:
        return len(self._found) + len(self._folded)

    def find(self, data: bytes) -> Iterator[tuple[str, Form]]:
        """Yield each secret in ``data`` and its form, each once."""
        seen: set[tuple[str, Form]] = set()
        for finder, known, text in (
            (self._finder, self._found, data),
            (self._folded_finder, self._folded, data.lower()),
        ):
            for string, _ in finder.find(text):
                if known[string] not in seen:
                    seen.add(known[string])
                    yield known[string]

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self._found)

    @cached_property
    def _folded_finder(self) -> Finder:
        return Finder(self._folded)


class Canary:
    """Looks through the traffic of a demo.

    Args:
        people: whose histories must not be in it.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self.anywhere, self.upwards = Secrets(), Secrets()
        self.invented = {name for person in people for name in person.canary.names}
        self.moments = {at for person in people for play in person.plays for at in stamps(person, play)}
        played = {name for person in people for play in person.plays for name in (play.artist, play.title)}
        self.catalogued = played - self.invented
        for name in sorted(self.invented):
            self.anywhere.add_text(name)
        for at in sorted(self.moments):
            self.anywhere.add_moment(at)
        for name in sorted(self.catalogued):
            self.upwards.add_text(name)

    def search(self, frames: Iterable[tuple[str, bytes]]) -> Report:
        """Look through a recording.

        Raises:
            DataError: something in it cannot be looked through.
        """
        report = Report()
        for name, data in frames:
            up = name.startswith("> ")
            report.requests += up
            report.bytes_up += len(data) * up
            report.bytes_down += len(data) * (not up)
            report.findings += self._found(name, name.encode() + b"\n" + data, compressed=False)
            for content in unpacked(data):
                report.streams += 1
                report.bytes_unpacked += len(content)
                report.findings += self._found(name, content, compressed=True)
        return report

    def _found(self, frame: str, data: bytes, *, compressed: bool) -> Iterator[Finding]:
        for secrets in (self.anywhere, self.upwards) if frame.startswith("> ") else (self.anywhere,):
            for what, form in secrets.find(data):
                yield Finding(what, form, frame, compressed)

    def rehearse(self, name: str, data: bytes) -> tuple[int, int]:
        """Plant every kind of secret in a copy of a real request, and return how many of how many were found.

        A search that cannot find anything proves nothing.
        """
        texts = [sorted(self.invented)[0], *sorted(self.catalogued, key=len)[-1:]]
        forms = [data for text in texts for _, data in text_forms(text)]
        forms += [data for _, data in moment_forms(min(self.moments))]
        whole = texts[0].encode()
        forms += [zlib.compress(whole), gzip.compress(whole), gzip.compress(base64.b64encode(b"a" + whole))]
        found = 0
        for form in forms:
            middle = len(data) // 2
            planted = data[:middle] + form + data[middle:]
            found += bool(self.search([(name, planted)]).findings)
        return found, len(forms)
