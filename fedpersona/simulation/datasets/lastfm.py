"""Last.fm listening counts, from the original files of HetRec 2011.

Cantador, Brusilovsky and Kuflik, "Second workshop on information heterogeneity and fusion in recommender
systems", RecSys 2011. ``user_artists.dat`` has the plays, ``artists.dat`` the names, ``tags.dat`` the words of
the tags, and ``user_taggedartists.dat`` which person gave which artist which tag.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.simulation.datasets.columns import integer_columns, lines, refuse_repeated_pairs, text
from fedpersona.simulation.datasets.folders import Original
from fedpersona.simulation.datasets.leave_one_out import at_random
from fedpersona.simulation.population import Population, Split

__all__ = ["ORIGINAL", "read"]

ORIGINAL = Original(
    name="lastfm-2k",
    folders=("lastfm-2k", "hetrec2011-lastfm-2k"),
    files=("user_artists.dat", "artists.dat"),
    page="https://grouplens.org/datasets/hetrec-2011/",
    terms="for non-commercial research only",
)

_FEWEST_ARTISTS = 5
_FEWEST_LISTENERS = 3
_TAGS_SHOWN = 5


def read(data: Path | None) -> Split:
    """Read people with 5+ artists and artists with 3+ listeners, and hold two artists of each person back.

    The files have no times of plays, so the held-out artists are drawn at random, with a seed of their own.

    Args:
        data: the folder of the original files, or the one it lies in.

    Returns:
        The split; items are artists, weights are play counts, and ids are those of the files.

    Raises:
        DataNotFound: the files are not there; the message says where to get them.
        DataError: a line is malformed; the message names the file and the line.
    """
    folder = ORIGINAL.locate(data)
    path = folder / "user_artists.dat"
    table, first_line = integer_columns(path, ("userID", "artistID", "weight"))
    person_ids, artist_ids, plays = table.T
    if not plays.all():
        line = int(np.argmin(plays)) + first_line
        raise DataError("weight is 0: a play count starts at 1", path=path, place=f"line {line}")
    refuse_repeated_pairs(path, person_ids, artist_ids, first_line=first_line)
    kept = _well_connected(person_ids, artist_ids)
    if not kept.any():
        raise DataError(f"nobody has {_FEWEST_ARTISTS} artists that {_FEWEST_LISTENERS} people listened to", path=path)
    people, person = np.unique(person_ids[kept], return_inverse=True)
    artists, artist = np.unique(artist_ids[kept], return_inverse=True)
    population = Population.from_pairs(
        ORIGINAL.name,
        _catalogue(folder, artists),
        person,
        artist,
        person_ids=people,
        weights=plays[kept].astype(np.float32),
    )
    return at_random(population)


def _well_connected(people: NDArray[np.int64], artists: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which pairs stay when short histories and rare artists are left out until there are none."""
    person = np.unique(people, return_inverse=True)[1]
    artist = np.unique(artists, return_inverse=True)[1]
    kept = np.ones(len(people), np.bool_)
    while True:
        lengths = np.bincount(person[kept], minlength=len(people))
        listeners = np.bincount(artist[kept], minlength=len(people))
        staying = kept & (lengths[person] >= _FEWEST_ARTISTS) & (listeners[artist] >= _FEWEST_LISTENERS)
        if staying.sum() == kept.sum():
            return kept
        kept = staying


def _catalogue(folder: Path, artists: NDArray[np.int64]) -> Catalogue:
    names = _names(folder / "artists.dat", "artist's id")
    titles = [names.get(artist) or f"artist {artist}" for artist in artists.tolist()]
    return Catalogue.create(
        map(str, artists.tolist()),
        titles=titles,
        artists=titles,
        tags=_top_tags(folder, artists),
        kind="artist",
    )


def _names(path: Path, id_name: str) -> dict[int, str]:
    """Read the first two columns, an id and a name, below a heading."""
    names: dict[int, str] = {}
    for number, line in enumerate(lines(path)[1:], 2):
        cells = line.split(b"\t")
        if len(cells) < 2 or not cells[0].isdigit():
            raise DataError(
                f"an {id_name} and a name belong at the beginning, with a tab between them",
                path=path,
                place=f"line {number}",
            )
        names[int(cells[0])] = text(cells[1])
    return names


def _top_tags(folder: Path, artists: NDArray[np.int64]) -> list[list[str]] | None:
    """Return each artist's tags, most given first, ties by the tag's id; None without the files."""
    assigned, words = folder / "user_taggedartists.dat", folder / "tags.dat"
    if not (assigned.is_file() and words.is_file()):
        return None
    table, _ = integer_columns(assigned, ("userID", "artistID", "tagID", "day", "month", "year"))
    names = _names(words, "tag's id")
    pairs, given = np.unique(table[np.isin(table[:, 1], artists), 1:3], axis=0, return_counts=True)
    row = np.searchsorted(artists, pairs[:, 0])
    order = np.lexsort((pairs[:, 1], -given, row))
    tags: list[list[str]] = [[] for _ in artists]
    for place, tag in zip(row[order].tolist(), pairs[order, 1].tolist(), strict=True):
        if len(tags[place]) < _TAGS_SHOWN and names.get(tag):
            tags[place].append(names[tag])
    return tags
