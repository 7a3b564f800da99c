"""The owner's weekly playlist: made on the device from what is here, kept all week, new on Monday.

It needs no consent and no network. With a shared model the list follows it; without one it follows the tags of what
the owner plays; with nothing known of the owner it is a plain list of well-known music, and says so.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, tzinfo
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device import tag_taste
from fedpersona.device.clock import Clock
from fedpersona.device.playlist import Pick, WeeklyConfig, weekly_list
from fedpersona.device.reasons import Explain
from fedpersona.device.shelf import Shelf, Trained
from fedpersona.device.store import Cursor, Store
from fedpersona.device.vault import Vault
from fedpersona.playlists import Playlist, Track, save
from fedpersona.plays import Plays

__all__ = ["Level", "Weekly", "WeeklyItem", "WeeklyPlaylist", "half_life_items"]

HALF_LIFE_DAYS = 30
DISCOUNT = 0.15  # of fame; raised accuracy and coverage on lastfm-2k where the model had none of its own
_KEPT_WEEKS = 12
_LEAST_HALF_LIFE = 5.0

Scored: TypeAlias = tuple[NDArray[np.float64], Explain]


class Level(IntEnum):
    """How personal a list is. Within a week a list is only ever replaced by a more personal one."""

    WELL_KNOWN = 0
    TAGS = 1
    SHARED = 2


BY_ARTISTS = "close to the artists you play"
"""The reason where the catalogue knows artists of the history, but none of the tracks."""

NOTES = {
    Level.WELL_KNOWN: "Not personal yet: nothing you have played is in the catalogue, so this is well-known music. "
    "Import a listening history to change that.",
    Level.TAGS: "From the tags of what you play: no shared taste model has come to this device yet.",
    Level.SHARED: "From what you play and the shared taste model, worked out on this device.",
}


@dataclass(frozen=True)
class WeeklyItem:
    """One item of the list, with its reason in words. Its ``repr`` shows nothing of it."""

    item: str
    """Catalogue id."""
    title: str
    artist: str
    reason: str
    kind: str
    ids: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"WeeklyItem(kind={self.kind!r})"


@dataclass(frozen=True)
class WeeklyPlaylist:
    """The list of one ISO week."""

    year: int
    week: int
    level: Level
    made: int
    """Unix seconds, UTC."""
    items: tuple[WeeklyItem, ...]

    @property
    def title(self) -> str:
        """What the list is called."""
        monday = date.fromisocalendar(self.year, self.week, 1)
        return f"Your week of {monday.day} {monday:%B %Y}"

    @property
    def note(self) -> str:
        """How personal the list is, and why, in words."""
        return NOTES[self.level]

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"WeeklyPlaylist({self.year}-W{self.week:02}, {len(self)} items, {self.level.name.lower()})"

    def save(self, path: str | Path) -> Path:
        """Write the list as XSPF, JSPF or M3U8, by the file's suffix.

        Raises:
            ConfigError: another suffix.
            OutputError: the file cannot be written.
        """
        tracks = tuple(Track(one.title, one.artist, reason=one.reason, ids=one.ids) for one in self.items)
        return save(Playlist(self.title, self.made, tracks, annotation=self.note), path)


class Weekly:
    """Makes and keeps the weekly lists.

    Args:
        zone: the owner's time zone; None asks the system each time.
    """

    def __init__(self, store: Store, vault: Vault, shelf: Shelf, clock: Clock, zone: tzinfo | None = None) -> None:
        self._store = store
        self._vault = vault
        self._shelf = shelf
        self._clock = clock
        self._zone = zone

    def week(self) -> tuple[int, int]:
        """Return the ISO year and week that it is for the owner."""
        now = datetime.fromtimestamp(self._clock.now(), UTC).astimezone(self._zone)
        year, week, _ = now.isocalendar()
        return year, week

    def playlist(self, config: WeeklyConfig | None = None) -> WeeklyPlaylist:
        """Return this week's list: the one that was made, unless a more personal one can be made now."""
        year, week = self.week()
        catalogue = self._shelf.catalogue
        kept = self._kept(year, week)
        if kept is not None and kept.level is Level.SHARED:
            return kept
        plays = self._vault.plays(catalogue)
        level, scored = self._taste(catalogue, plays)
        if kept is not None and kept.level >= level:
            return kept
        picks = weekly_list(
            scored[0],
            plays,
            catalogue,
            week=(year, week),
            person_key=self._person_key(),
            config=config,
            explain=scored[1],
            previous=self._previous(year, week, catalogue),
        )
        by_artists = BY_ARTISTS if level is Level.TAGS and not len(plays) else None
        items = tuple(_item(pick, catalogue, by_artists) for pick in picks)
        made = WeeklyPlaylist(year, week, level, self._clock.now(), items)
        self._keep(made, catalogue)
        return made

    def export(self) -> list[dict[str, Any]]:
        """Return the remembered lists, the oldest first, JSON-native."""
        with self._store.reading() as cursor:
            rows = cursor.execute("SELECT year, week, body FROM weekly_list ORDER BY year, week").fetchall()
        return [{"year": year, "week": week, **json.loads(body)} for year, week, body in rows]

    def _taste(self, catalogue: Catalogue, plays: Plays) -> tuple[Level, Scored]:
        trained = self._shelf.trained
        if len(plays) and trained is not None:
            scored = _by_model(trained, plays)
            if np.isfinite(scored[0]).all():  # else the model is of no use: without it there is a list as well
                return Level.SHARED, scored
        artists = self._vault.artist_plays(catalogue)
        taste = tag_taste.TagTaste(catalogue, plays, artists)
        return (Level.TAGS if taste.personal else Level.WELL_KNOWN), (taste.scores(), taste.explain)

    def _person_key(self) -> int:
        with self._store.writing() as cursor:
            row = cursor.execute("SELECT value FROM settings WHERE name = 'person key'").fetchone()
            if row is None:
                row = (str(secrets.randbits(62)).encode(),)
                cursor.execute("INSERT INTO settings (name, value) VALUES ('person key', ?)", row)
            return int(bytes(row[0]))

    def _kept(self, year: int, week: int) -> WeeklyPlaylist | None:
        with self._store.reading() as cursor:
            row = cursor.execute(
                "SELECT level, body FROM weekly_list WHERE year = ? AND week = ?", (year, week)
            ).fetchone()
        if row is None:
            return None
        body = json.loads(row[1])
        items = tuple(WeeklyItem(**{**one, "ids": tuple(one["ids"])}) for one in body["items"])
        return WeeklyPlaylist(year, week, Level(row[0]), body["made"], items)

    def _previous(self, year: int, week: int, catalogue: Catalogue) -> list[NDArray[np.integer]]:
        """Return the rows of the lists before this week's, the oldest first, as far as the catalogue has them."""
        with self._store.reading() as cursor:
            bodies = cursor.execute(
                "SELECT body FROM weekly_list WHERE (year, week) < (?, ?) ORDER BY year DESC, week DESC LIMIT ?",
                (year, week, _KEPT_WEEKS),
            ).fetchall()
        return [_rows([one["item"] for one in json.loads(body)["items"]], catalogue) for (body,) in reversed(bodies)]

    def _keep(self, made: WeeklyPlaylist, catalogue: Catalogue) -> None:
        body = json.dumps({"made": made.made, "items": [asdict(one) for one in made.items]})
        with self._store.writing() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO weekly_list (year, week, level, catalogue, body) VALUES (?, ?, ?, ?, ?)",
                (made.year, made.week, int(made.level), catalogue.version, body),
            )
            _drop_old(cursor)


def half_life_items(plays: Plays, days: float = HALF_LIFE_DAYS) -> float:
    """Return how many items the person played in the ``days`` before their latest play: the half-life in items.

    So a month without music does not age a taste, and one odd week weighs as what it is in a month of one's own.
    """
    if plays.last_played is None or not len(plays):
        return _LEAST_HALF_LIFE
    recent = int(np.count_nonzero(plays.last_played >= int(plays.last_played.max()) - days * 86_400))
    return max(_LEAST_HALF_LIFE, float(recent))


def _by_model(trained: Trained, plays: Plays) -> Scored:
    """Score the catalogue by the shared model, with the weekly list's own half-life and discount."""
    discount = trained.model.discount or DISCOUNT
    model = trained.model.model_copy(update={"recency": half_life_items(plays), "discount": discount})
    shared = trained.shared
    with np.errstate(all="ignore"):  # whether the scores are finite is looked at
        scores = model.scores(shared, model.personalise(shared, plays), plays)
    return scores, lambda row, history: model.explain(shared, row, history)


def _item(pick: Pick, catalogue: Catalogue, reason: str | None) -> WeeklyItem:
    row = pick.row
    ids = catalogue.links[row] if catalogue.links else ()
    artist = catalogue.titles[row] if catalogue.kind == "artist" else catalogue.artists[row]
    return WeeklyItem(catalogue.ids[row], catalogue.titles[row], artist, reason or pick.reason, pick.kind, ids)


def _rows(items: list[str], catalogue: Catalogue) -> NDArray[np.integer]:
    found: Callable[[str], int | None] = catalogue.find
    return np.array([row for row in map(found, items) if row is not None], np.int64)


def _drop_old(cursor: Cursor) -> None:
    cursor.execute(
        "DELETE FROM weekly_list WHERE (year, week) NOT IN "
        "(SELECT year, week FROM weekly_list ORDER BY year DESC, week DESC LIMIT ?)",
        (_KEPT_WEEKS,),
    )
