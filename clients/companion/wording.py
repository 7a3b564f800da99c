"""How the pages say things: dates in the owner's time zone, counts, answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

from fedpersona.device.consent import ConsentState
from fedpersona.device.ledger import LedgerEntry
from fedpersona.device.spending import number_words
from fedpersona.simulation.practice import PRACTICE

__all__ = [
    "Wording",
    "answer",
    "counted",
    "headline",
    "in_fours",
    "keeping",
    "listed",
    "month",
    "paragraphs",
    "percent",
]

_PURPOSES = {
    "share_update": "Contribute to the shared taste model",
    "share_metrics": "Share how well playlists fit",
    "audit_canary": "Take part in a test of the server’s privacy",
}


class Wording:
    """Dates as a person in this time zone reads them.

    Args:
        zone: None asks the system.
    """

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone

    def day(self, at: int) -> str:
        """Return ``24 November 2026``."""
        found = self._local(at)
        return f"{found.day} {found:%B %Y}"

    def time(self, at: int) -> str:
        """Return ``20:13``."""
        return f"{self._local(at):%H:%M}"

    def iso(self, at: int) -> str:
        """Return the time for a machine to read."""
        return datetime.fromtimestamp(at, UTC).isoformat()

    def standing(self, state: ConsentState) -> str:
        """Return how a consent came to stand as it does, to follow :func:`answer`; a sentence."""
        since = "" if state.since is None else self.day(state.since)
        until = "" if state.until is None else self.day(state.until)
        return {
            "unasked": "You were not asked yet, which counts as no.",
            "granted": f"Since {since}, until {until}.",
            "refused": f"Since {since}.",
            "withdrawn": "Taken back." if state.since is None else f"Taken back on {self.day(state.since)}.",
            "expired": f"Your yes ran out on {until}.",
            "notice changed": "What you said yes to has changed since. Until you answer again, this counts as no.",
            "refused by Global Privacy Control": "By Global Privacy Control.",
        }[state.status]

    def _local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at, UTC).astimezone(self._zone)


def answer(state: ConsentState) -> str:
    """Return an answer in a word."""
    return "Yes" if state.granted else "No"


def purpose(name: str) -> str:
    """Return what a purpose is called."""
    return _PURPOSES.get(name, name)


def place(server: str | None) -> str:
    """Return what a server is called."""
    return "the practice server" if server == PRACTICE else (server or "")


def month(name: str) -> str:
    """Return ``November 2026`` for ``2026-11``, and a year as it is."""
    return name if len(name) == 4 else f"{date(int(name[:4]), int(name[5:]), 1):%B %Y}"


def counted(number: int, noun: str) -> str:
    """Return ``1 listen`` or ``2,345 listens``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(", ".join(words).rsplit(", ", 1))


def percent(part: int, whole: int) -> str:
    """Return a share in whole percent; what is not all is never 100, what is not nothing never 0."""
    if not whole:
        return "0 %"
    share = round(100 * part / whole)
    if part < whole:
        share = min(share, 99)
    return f"{max(share, 1) if part else 0} %"


def keeping(days: int) -> str:
    """Return how long listens are kept, in words."""
    if days % 365 == 0:
        years = days // 365
        return "a year" if years == 1 else f"{_NUMBERS.get(years, f'{years:,}')} years"
    return "a day" if days == 1 else f"{days:,} days"


_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}


def in_fours(digits: str) -> str:
    """Return a key's hexadecimal digits in groups of four, for two people to compare."""
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of a notice."""

    lead: str
    """``What is sent``; empty where the paragraph has no such beginning."""
    text: str


def paragraphs(text: str) -> tuple[Paragraph, ...]:
    """Part a notice into its paragraphs, without its title; not a word is left out."""
    found = []
    for block in text.strip().split("\n\n")[1:]:
        line = " ".join(block.split())
        lead, colon, rest = line.partition(": ")
        found.append(Paragraph(lead, rest) if colon and len(lead) < 40 else Paragraph("", line))
    return tuple(found)


def title(text: str) -> str:
    """Return the title of a notice: its first paragraph."""
    return " ".join(text.strip().split("\n\n", 1)[0].split())


def headline(entry: LedgerEntry) -> str:
    """Return what an entry of the ledger tells, in a few words."""
    if entry.kind == "sent":
        return {
            "delivered": "Sent",
            "destroyed": "Destroyed, not sent",
        }.get(str(entry.outcome), "May have left")
    return {
        "refused": "Refused",
        "received": "Fetched",
        "exported": "Exported",
        "imported": "Imported",
        "enrolling": "Asked for a place",
        "put back": "An older copy, as you know",
    }[entry.kind]


def facts(entry: LedgerEntry) -> list[tuple[str, str]]:
    """Return what was sent or asked for, name by name."""
    found: list[tuple[str, str]] = []
    if entry.round_number is not None:
        found.append(("Round", f"{entry.round_number} of training, {entry.model}"))
    if entry.kind == "sent":
        found.append(("Limit", "none" if entry.clip is None else f"length at most {entry.clip:g}"))
        found.append(("Privacy", entry.noise_words))
    if entry.epsilon is not None and entry.delta is not None:
        claim = f"ε {number_words(entry.epsilon)} for all of its training (δ {entry.delta:g})"
        found.append(("The server says", claim))
    if entry.left and entry.of_server is not None and entry.of_life is not None:
        if not entry.cost.noiseless:
            found.append(("This round, at worst", entry.cost.words))
        found.append(("This server so far", entry.of_server.words))
        stayed = ", for it stayed on this computer" if entry.server == PRACTICE else ""
        found.append(("In all so far", entry.of_life.words + stayed))
    if entry.digest:
        found.append(("SHA-256", entry.digest[:16] + "…"))
    return found
