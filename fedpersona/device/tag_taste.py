"""A taste without any shared model: what a person plays, by tags and artists, against what the catalogue says.

For the time before a server's model has come. Everything is computed here, from the public catalogue and the
person's own plays. Tags are weighted by how rare they are (Spärck Jones 1972).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device.matching import normalised_artist
from fedpersona.errors import DataError
from fedpersona.plays import Plays

__all__ = ["TagTaste"]

_LEADING_TAGS = 5
_ARTIST = 0.35  # weight of being by the same artist, beside that of a tag equally rare
_FAME = 0.25  # exponent of the place in the catalogue: taste decides, fame settles what taste leaves open
_FAME_OFFSET = 20.0
_NOTHING = 1e-6  # what nothing speaks for, beside the best
_MOST_PLAYS = 1e9  # of one artist: a sum stays finite


class TagTaste:
    """One person's taste by tags, over one catalogue. Its ``repr`` shows a count only.

    An item is a vector of its leading tags and its artist, each weighted by how rare it is, of length 1. Its score
    is the sum of its likenesses (cosines) to what the person played, each times log(1 + plays), times its fame. Rows
    of the catalogue are taken to be in the rough order of how well known they are; where nothing is known of the
    person, fame alone is the score.

    Args:
        catalogue: what there is.
        plays: what of it the person played.
        artists: plays by artist, in any spelling, of tracks that the catalogue does not have; an artist that it
            knows counts with the mean of what it has of them, others count for nothing.

    Raises:
        DataError: the plays are of another catalogue.
    """

    def __init__(self, catalogue: Catalogue, plays: Plays, artists: Mapping[str, float] | None = None) -> None:
        if len(plays) and int(plays.items[-1]) >= len(catalogue):
            raise DataError(
                f"a row is outside the catalogue of {len(catalogue):,} {catalogue.kind}s: "
                "it belongs to another version of the catalogue",
                place="plays.items",
            )
        self._catalogue = catalogue
        self._plays = plays
        self._artists = _known_artists(catalogue, artists or {})

    def __repr__(self) -> str:
        return f"TagTaste({len(self._plays):,} items played of {len(self._catalogue):,})"

    @property
    def personal(self) -> bool:
        """Whether anything the person played says something about the catalogue."""
        return bool(len(self._plays) or self._artists)

    def scores(self) -> NDArray[np.float64]:
        """Return one number an item, shape (items,), finite and above zero: the higher, the more to their taste."""
        fame = _fame(len(self._catalogue))
        taste = self._space.likeness(self._profile())
        most = float(taste.max())
        # What nothing speaks for comes after all else, by fame alone.
        return fame * (taste / most + _NOTHING) if most > 0 else fame

    def explain(self, row: int, plays: Plays) -> NDArray[np.float64]:
        """Return how much each played item adds to the score of an item, aligned with ``plays.items``.

        Up to a positive factor, as :meth:`fedpersona.taste.TasteModel.explain` does.
        """
        return self._space.likeness(self._space.sum([row], [1.0]))[plays.items] * _weights(plays)

    @cached_property
    def _space(self) -> _Space:
        return _Space(self._catalogue)

    def _profile(self) -> NDArray[np.float64]:
        """Return the weighted sum of all that was played, one number a tag."""
        rows, weights = self._plays.items.tolist(), _weights(self._plays).tolist()
        for weight, known in self._artists:
            rows += known
            weights += [float(np.log1p(weight)) / len(known)] * len(known)
        return self._space.sum(rows, weights)


class _Space:
    """The tags of a catalogue as numbers: which items have each, and the vector of each item."""

    def __init__(self, catalogue: Catalogue) -> None:
        numbers: dict[tuple[str, str], int] = {}
        tags: list[int] = []
        lengths: list[int] = []
        of_artists = catalogue.kind == "artist"
        for names, artist in zip(catalogue.tags, catalogue.artists, strict=True):
            keys = [("tag", name) for name in dict.fromkeys(names[:_LEADING_TAGS]) if name]
            if artist and not of_artists:
                keys.append(("artist", artist))
            tags += [numbers.setdefault(key, len(numbers)) for key in keys]
            lengths.append(len(keys))
        self._tags = np.array(tags, np.int64)
        self._rows = np.repeat(np.arange(len(catalogue)), lengths)
        self._count = len(numbers)
        self._items = len(catalogue)
        holders = np.bincount(self._tags, minlength=len(numbers))
        rarity = np.log1p(len(catalogue) / np.maximum(holders, 1))
        rarity[[number for (kind, _), number in numbers.items() if kind == "artist"]] *= _ARTIST
        weights = rarity[self._tags]
        norms = np.sqrt(np.bincount(self._rows, weights**2, minlength=self._items))
        self._weights = weights / norms[self._rows]

    def sum(self, rows: Sequence[int], weights: Sequence[float]) -> NDArray[np.float64]:
        """Return the weighted sum of items' vectors, shape (tags,)."""
        of_items = np.zeros(self._items)
        np.add.at(of_items, np.asarray(rows, np.int64), weights)
        return np.bincount(self._tags, self._weights * of_items[self._rows], minlength=self._count).astype(np.float64)

    def likeness(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each item's product with a vector over tags, shape (items,)."""
        products = self._weights * vector[self._tags]
        return np.bincount(self._rows, products, minlength=self._items).astype(np.float64)


def _weights(plays: Plays) -> NDArray[np.float64]:
    return np.log1p(plays.weights.astype(np.float64))


def _fame(items: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(items) + _FAME_OFFSET) ** -_FAME)


def _known_artists(catalogue: Catalogue, artists: Mapping[str, float]) -> list[tuple[float, list[int]]]:
    """Return weight and rows of each of the person's artists that the catalogue has."""
    weights: dict[str, float] = {}
    for name, weight in artists.items():
        if name and np.isfinite(weight) and weight > 0:
            key = normalised_artist(name)
            weights[key] = min(weights.get(key, 0.0) + float(weight), _MOST_PLAYS)
    if not weights:
        return []
    names = catalogue.titles if catalogue.kind == "artist" else catalogue.artists
    by_name: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        by_name.setdefault(name, []).append(row)
    rows: dict[str, list[int]] = {}
    for name, found in by_name.items():
        if name and (key := normalised_artist(name)) in weights:
            rows.setdefault(key, []).extend(found)
    return [(weights[key], found) for key, found in rows.items()]
