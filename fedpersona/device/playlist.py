"""The weekly list: music its owner never played, with a reason each, the same all week and new on Monday.

A pure function of scores, plays and the week. It reads no file and no clock, and it needs no consent, since
nothing leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedpersona.catalogue import Catalogue
from fedpersona.device.reasons import Explain, History, Kind, reasons
from fedpersona.device.twins import first_rows, with_twins
from fedpersona.errors import ConfigError, DataError, NonFiniteScore
from fedpersona.plays import Plays
from fedpersona.randomness import generator

__all__ = ["Pick", "WeeklyConfig", "weekly_list"]

_FIRST_BLOCK = 512


class WeeklyConfig(BaseModel):
    """Settings of the weekly list."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )

    length: int = Field(30, ge=1, le=1000)
    """Items on the list, where there are that many to choose from."""
    per_artist: int = Field(2, ge=1)
    """Most items of one artist, where the catalogue knows the artist."""
    exploration: float = Field(0.15, ge=0, le=1)
    """Share of the list that is drawn from further down the ranking."""
    depth: int = Field(10, ge=2)
    """How far down exploration looks, in lengths of the list: ranks 30 to 300 by default."""
    unfamiliar: float = Field(3.0, ge=0)
    """How much more exploration likes what is all new to the person: at rank r its weight is
    ``(1 + unfamiliar * newness) / r``."""
    gap: int = Field(8, ge=0)
    """Weeks before an item may come back, as far as anything else is left."""


@dataclass(frozen=True)
class Pick:
    """One item of a weekly list. Its ``repr`` leaves out what tells of the person's plays."""

    row: int
    """Catalogue row."""
    score: float
    kind: Kind
    because: tuple[int, ...]
    """Catalogue rows of the up to two played items that ``reason`` names."""
    reason: str
    """Why it is on the list, in words."""

    def __repr__(self) -> str:
        return f"Pick(row={self.row}, score={self.score:.4g}, kind={self.kind!r})"


def weekly_list(
    scores: NDArray[np.floating],
    plays: Plays,
    catalogue: Catalogue,
    *,
    week: tuple[int, int],
    person_key: int,
    config: WeeklyConfig | None = None,
    explain: Explain | None = None,
    previous: Sequence[NDArray[np.integer]] = (),
) -> tuple[Pick, ...]:
    """Choose one person's list for one week; the same inputs give the same list.

    Most of it is the top of the ranking. The rest is drawn from further down, by preference what is unfamiliar,
    and spread evenly through the list. Nothing played is ever on it, under whichever id the catalogue has it (see
    ``device/twins.py``), no recording twice, and no artist more often than ``per_artist``. It is shorter than
    ``length`` where too little is left, and empty where all was played.

    Args:
        scores: one number an item, the higher the better, shape (items,).
        plays: the person's history; an empty one gives the list by ``scores`` alone, all ``popular``.
        catalogue: what the rows are.
        week: ISO year and week.
        person_key: a whole number >= 0 that the device keeps; it sets one person's draws apart from another's.
        config: the settings; None for the defaults.
        explain: what each played item adds to an item's score; None where the model cannot tell.
        previous: catalogue rows of the lists before this one, one array a week, the latest last.

    Raises:
        ConfigError: there is no such ISO week, or the person key is negative.
        DataError: scores, plays or previous lists do not fit the catalogue.
        NonFiniteScore: an item's score or explanation is NaN or infinite.
    """
    config = config or WeeklyConfig()
    draws = _draws(week, person_key)
    values = _checked_scores(scores, catalogue)
    heard = with_twins(_checked_rows(plays.items, catalogue, "plays.items"), catalogue)
    recent = previous[max(0, len(previous) - config.gap) :]
    listed = _last_listed(recent, catalogue)
    history = History(plays, catalogue)

    cap = _ArtistCap(catalogue, config.per_artist)
    fresh = np.flatnonzero(~heard & (listed < 0))
    explore = int(config.exploration * config.length + 0.5) if len(plays) else 0
    ranking = list(islice(_best_first(values, fresh), config.depth * config.length))
    best = cap.take(ranking, config.length - explore)
    beyond = cap.take(_shuffled_pool(ranking, history, config, draws), explore)
    best += cap.take(_best_first(values, fresh), config.length - len(best) - len(beyond))
    again = np.flatnonzero(~heard & (listed >= 0))
    best += cap.take(_longest_ago(values, again, listed), config.length - len(best) - len(beyond))

    chosen = _spread(best, beyond)
    return tuple(
        Pick(row, float(values[row]), why.kind, why.because, why.words)
        for (row, _), why in zip(chosen, reasons(chosen, history, explain), strict=True)
    )


class _ArtistCap:
    """Takes each recording once, and no more of an artist than agreed."""

    def __init__(self, catalogue: Catalogue, most: int) -> None:
        self._artists = catalogue.artists
        self._first = first_rows(catalogue)
        self._most = most
        self._taken: set[int] = set()
        self._by_artist: Counter[str] = Counter()

    def take(self, rows: Iterable[int], count: int) -> list[int]:
        """Return the first ``count`` rows that may still be taken."""
        return list(islice(filter(self._admit, rows), count)) if count > 0 else []

    def _admit(self, row: int) -> bool:
        artist, recording = self._artists[row], int(self._first[row])
        if recording in self._taken or (artist and self._by_artist[artist] >= self._most):
            return False
        self._taken.add(recording)
        self._by_artist[artist] += 1
        return True


def _best_first(scores: NDArray[np.float64], rows: NDArray[np.integer]) -> Iterator[int]:
    """Yield rows from the highest score down, equal scores in the order of ``rows``.

    Sorted a block at a time, since a list seldom needs more than the first of 50,000 items.
    """
    block = _FIRST_BLOCK
    while rows.size:
        head, rows = _head(scores, rows, block)
        yield from head[np.argsort(-scores[head], kind="stable")].tolist()
        block *= 2


def _head(
    scores: NDArray[np.float64], rows: NDArray[np.integer], count: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Part the ``count`` best rows, and what equals the last of them, from the rest; both in order."""
    if rows.size <= count:
        return rows, rows[:0]
    values = scores[rows]
    best = values >= np.partition(values, -count)[-count]
    return rows[best], rows[~best]


def _longest_ago(scores: NDArray[np.float64], rows: NDArray[np.integer], listed: NDArray[np.int64]) -> list[int]:
    """Return rows that were listed before, those of the earliest list first."""
    return rows[np.lexsort((rows, -scores[rows], listed[rows]))].tolist()  # type: ignore[no-any-return]


def _shuffled_pool(ranking: list[int], history: History, config: WeeklyConfig, draws: np.random.Generator) -> list[int]:
    """Return the rows below the list's own length in a weighted random order.

    Weighted sampling without replacement by exponential keys (Efraimidis and Spirakis 2006, algorithm A). Each
    item has its own luck for the week, wherever it ranks: one play in midweek does not turn everything over.
    """
    pool = ranking[config.length :]
    if not pool or not len(history.plays):
        return []
    newness = np.array([history.newness(row) for row in pool])
    ranks = np.arange(config.length + 1, config.length + 1 + len(pool))
    luck = draws.standard_exponential(len(history.catalogue))[pool]
    waits = luck * ranks / (1.0 + config.unfamiliar * newness)
    return [pool[place] for place in np.argsort(waits, kind="stable")]


def _spread(best: list[int], beyond: list[int]) -> list[tuple[int, Kind]]:
    """Put the exploration picks evenly among the others, the last at the end."""
    total = len(best) + len(beyond)
    places = {(number + 1) * total // len(beyond) - 1 for number in range(len(beyond))}
    tastes, explorations = iter(best), iter(beyond)
    return [
        (next(explorations), "exploration") if place in places else (next(tastes), "taste") for place in range(total)
    ]


def _draws(week: tuple[int, int], person_key: int) -> np.random.Generator:
    year, number = week
    try:
        date.fromisocalendar(year, number, 1)
    except ValueError:
        raise ConfigError(
            f"week {number} of {year} is no ISO week: give year and week as date.isocalendar() does"
        ) from None
    if person_key < 0:
        raise ConfigError(f"the person key is {person_key}: give a whole number of 0 or more")
    return generator(person_key, "weekly list", round_number=year * 100 + number)


def _checked_scores(scores: NDArray[np.floating], catalogue: Catalogue) -> NDArray[np.float64]:
    checked = np.asarray(scores, np.float64)
    if checked.shape != (len(catalogue),):
        raise DataError(
            f"scores have shape {checked.shape}, but the catalogue has {len(catalogue):,} {catalogue.kind}s",
            place="scores",
        )
    finite = np.isfinite(checked)
    if not finite.all():
        row = int(np.argmin(finite))
        raise NonFiniteScore(
            f"'{catalogue.label(row)}' (row {row}) is scored {checked[row]}: such a score has no rank, "
            "so the model it comes from must be trained or fetched anew"
        )
    return checked


def _checked_rows(rows: NDArray[np.integer], catalogue: Catalogue, place: str) -> NDArray[np.integer]:
    rows = np.asarray(rows)
    if not rows.size:
        return np.zeros(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError("catalogue rows must be whole numbers in one dimension", place=place)
    if rows.min() < 0 or rows.max() >= len(catalogue):
        raise DataError(
            f"a row is outside the catalogue of {len(catalogue):,} {catalogue.kind}s: "
            "it belongs to another version of the catalogue",
            place=place,
        )
    return rows


def _last_listed(recent: Sequence[NDArray[np.integer]], catalogue: Catalogue) -> NDArray[np.int64]:
    """Return which of the recent lists had each recording last, -1 where none had, shape (items,)."""
    listed = np.full(len(catalogue), -1, np.int64)
    for number, rows in enumerate(recent):
        listed[with_twins(_checked_rows(rows, catalogue, f"previous[{number}]"), catalogue)] = number
    return listed
