"""Why an item is on someone's list: what of their own history it recalls, and the words that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, NonFiniteScore
from fedpersona.plays import Plays

__all__ = ["Explain", "History", "Kind", "Reason", "reasons"]

Kind = Literal["taste", "exploration", "popular"]
"""Why a pick was taken: the person's taste, a step beyond it, or nothing personal at all."""

Explain = Callable[[int, Plays], NDArray[np.floating]]
"""``explain(row, plays)``: how much each played item adds to the score of ``row``, shape (plays,)."""

NOT_PERSONAL_YET = "popular with many people; your own plays will shape the next list"
NOT_PERSONAL = "many people like it"

_LEADING_TAGS = 5  # tags come most telling first; those further back say little
_SECOND_SHARE = 0.25  # a second item is named only where it adds at least this share of the first
_NEGLIGIBLE = 1e-6  # a contribution this small beside the largest is rounding, not a reason

_PLAYED = {"artist": "listen to", "film": "watched"}
_NOT_PLAYED = {"artist": "not listened to", "film": "not watched"}


class Reason(NamedTuple):
    """A pick's kind, the played items its words name, and the words."""

    kind: Kind
    because: tuple[int, ...]
    words: str


class History:
    """What a person's plays have of artists and tags, to compare items they never played with."""

    def __init__(self, plays: Plays, catalogue: Catalogue) -> None:
        self.plays = plays
        self.catalogue = catalogue

    @cached_property
    def artists(self) -> frozenset[str]:
        """The artists the person played."""
        return frozenset(self.catalogue.artists[row] for row in self.plays.items.tolist())

    @cached_property
    def tag_counts(self) -> Counter[str]:
        """How many of the played items have each leading tag."""
        return Counter(tag for row in self.plays.items.tolist() for tag in self.tags(row))

    @cached_property
    def _most_played(self) -> list[int]:
        """Positions in ``plays``, the most played first."""
        return np.argsort(-self.plays.weights, kind="stable").tolist()  # type: ignore[no-any-return]

    def tags(self, row: int) -> tuple[str, ...]:
        """Return the leading tags of an item."""
        return tuple(dict.fromkeys(tag for tag in self.catalogue.tags[row][:_LEADING_TAGS] if tag))

    def newness(self, row: int) -> float:
        """Return how far an item is from what the person knows, from 0 (all of it) to 1 (nothing).

        The mean of two halves, each left out where the catalogue does not know it: whether its artist is new,
        and how rare its tags are among the plays, beside the person's most common tag.
        """
        parts = []
        if artist := self.catalogue.artists[row]:
            parts.append(float(artist not in self.artists))
        if tags := self.tags(row):
            commonest = max(self.tag_counts.values(), default=1)
            parts.append(1.0 - sum(self.tag_counts[tag] for tag in tags) / (len(tags) * commonest))
        return sum(parts) / len(parts) if parts else 0.0

    def new_tag(self, row: int) -> str | None:
        """Return the most telling tag of an item that nothing played has."""
        return next((tag for tag in self.tags(row) if tag not in self.tag_counts), None)

    def shared_tag(self, row: int, allowed: NDArray[np.bool_] | None = None) -> tuple[str, int] | None:
        """Return the item's most telling tag that a played item shares, and the most played such item's row.

        Args:
            row: the item.
            allowed: which plays may be named, shape (plays,); None allows all.
        """
        for tag in self.tags(row):
            if tag in self.tag_counts:
                for position in self._most_played:
                    played = int(self.plays.items[position])
                    if (allowed is None or allowed[position]) and tag in self.tags(played):
                        return tag, played
        return None


def reasons(picks: list[tuple[int, Kind]], history: History, explain: Explain | None) -> list[Reason]:
    """Return the reason for each pick, a row and the kind it was chosen as.

    "Because you played A" is said only where A adds to the score. Where ``explain`` shows that the scores do
    not look at the person at all, what was chosen by taste is ``popular``.

    Raises:
        DataError: ``explain`` gave another number of contributions than there are plays.
        NonFiniteScore: it gave one that is NaN or infinite.
    """
    if not len(history.plays):
        return [Reason("popular", (), NOT_PERSONAL_YET) for _ in picks]
    if explain is None:
        return [_reason(row, kind, history, None) for row, kind in picks]
    contributions = [_contributions(row, history, explain) for row, _ in picks]
    if not any(added.any() for added in contributions):
        return [_impersonal(row, kind, history) for row, kind in picks]
    return [_reason(row, kind, history, added) for (row, kind), added in zip(picks, contributions, strict=True)]


def _impersonal(row: int, kind: Kind, history: History) -> Reason:
    if kind == "exploration":
        return Reason(kind, (), _unexplained(row, kind, history))
    return Reason("popular", (), NOT_PERSONAL)


def _contributions(row: int, history: History, explain: Explain) -> NDArray[np.float64]:
    added = np.asarray(explain(row, history.plays), np.float64)
    label = history.catalogue.label(row)
    if added.shape != (len(history.plays),):
        raise DataError(
            f"the explanation of '{label}' has shape {added.shape}, not one number for each of "
            f"{len(history.plays)} plays"
        )
    if not np.isfinite(added).all():
        raise NonFiniteScore(f"the explanation of '{label}' is not finite: fetch or train the model anew")
    return added


def _reason(row: int, kind: Kind, history: History, added: NDArray[np.float64] | None) -> Reason:
    because = () if added is None else _strongest(added, history.plays)
    if because:
        return Reason(kind, because, _because(row, kind, because, history))
    shared = history.shared_tag(row, None if added is None else added >= 0)
    if shared is None:
        return Reason(kind, (), _unexplained(row, kind, history))
    tag, played = shared
    more = "something new in" if kind == "exploration" else "more"
    return Reason(kind, (played,), f"{more} {tag}, like {history.catalogue.label(played)}")


def _strongest(added: NDArray[np.float64], plays: Plays) -> tuple[int, ...]:
    """Return the rows of the one or two played items that add most, none where nothing adds."""
    order = np.argsort(-added, kind="stable")[:2]
    floor = max(_NEGLIGIBLE * float(np.abs(added).max()), _SECOND_SHARE * float(added[order[0]]))
    named = [position for position in order if added[position] > 0 and added[position] >= floor]
    return tuple(int(row) for row in plays.items[named])


def _because(row: int, kind: Kind, because: tuple[int, ...], history: History) -> str:
    labels = [history.catalogue.label(played) for played in because]
    if kind == "exploration":
        tag = history.new_tag(row)
        return f"something new near {labels[0]}" + (f": {tag}" if tag else "")
    return f"because you {_PLAYED.get(history.catalogue.kind, 'played')} {' and '.join(labels)}"


def _unexplained(row: int, kind: Kind, history: History) -> str:
    """Return plain words that claim nothing about the person's plays but that this is not among them."""
    if kind == "exploration":
        tag = history.new_tag(row)
        return "something new to you" + (f": {tag}" if tag else "")
    noun = history.catalogue.kind
    return f"next in the ranking of {noun}s you have {_NOT_PLAYED.get(noun, 'not played')}"
