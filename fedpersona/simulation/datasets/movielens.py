"""MovieLens 100K and 1M, from their original files; every rating, high or low, is a film the person chose.

Harper and Konstan, "The MovieLens datasets: history and context", ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.simulation.datasets.columns import integer_columns, lines, refuse_repeated_pairs, text
from fedpersona.simulation.datasets.folders import Original
from fedpersona.simulation.datasets.leave_one_out import by_time
from fedpersona.simulation.population import Population, Split

__all__ = ["ML_1M", "ML_100K", "read_1m", "read_100k"]

_TERMS = "for research, not to be passed on"

ML_100K = Original(
    name="ml-100k",
    folders=("ml-100k",),
    files=("u.data", "u.item"),
    page="https://grouplens.org/datasets/movielens/100k/",
    terms=_TERMS,
)
ML_1M = Original(
    name="ml-1m",
    folders=("ml-1m",),
    files=("ratings.dat", "movies.dat"),
    page="https://grouplens.org/datasets/movielens/1m/",
    terms=_TERMS,
)

_COLUMNS = ("user", "film", "rating", "timestamp")

# fmt: off
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
    "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on
"""The columns at the end of ``u.item``, as its README lists them."""

_Film = tuple[int, str, list[str]]
"""Id, title, genres."""


def read_100k(data: Path | None) -> Split:
    """Read MovieLens 100K, and hold each person's last two films back.

    Args:
        data: the folder of the original files, or the one it lies in.

    Returns:
        The split by time, ties by the order of the file; items are the films that someone rated, tags are
        their genres.

    Raises:
        DataNotFound: the files are not there; the message says where to get them.
        DataError: a line is malformed; the message names the file and the line.
    """
    return _read(ML_100K, data, separator=b"\t", film=_film_of_100k)


def read_1m(data: Path | None) -> Split:
    """Read MovieLens 1M; all else is as in ``read_100k``."""
    return _read(ML_1M, data, separator=b"::", film=_film_of_1m)


def _read(original: Original, data: Path | None, *, separator: bytes, film: Callable[[bytes], _Film]) -> Split:
    ratings, films = (original.locate(data) / name for name in original.files)
    table, first_line = integer_columns(ratings, _COLUMNS, separator=separator)
    person_ids, film_ids, _, times = table.T
    refuse_repeated_pairs(ratings, person_ids, film_ids, first_line=first_line)
    people, person = np.unique(person_ids, return_inverse=True)
    rated, row = np.unique(film_ids, return_inverse=True)
    population = Population.from_pairs(
        original.name,
        _catalogue(films, film, rated.tolist()),
        person,
        row,
        person_ids=people,
        times=times,
    )
    return by_time(population, file_order=np.lexsort((row, person)))


def _catalogue(path: Path, film: Callable[[bytes], _Film], rated: list[int]) -> Catalogue:
    """Read the films' file; a film that was rated and is not in it goes by its number."""
    known: dict[int, tuple[str, list[str]]] = {}
    for number, line in enumerate(lines(path), 1):
        try:
            film_id, title, genres = film(line)
        except ValueError:
            raise DataError(
                "a film's id, its title and its genres belong here", path=path, place=f"line {number}"
            ) from None
        known[film_id] = title, genres
    nameless: tuple[str, list[str]] = ("", [])
    return Catalogue.create(
        map(str, rated),
        titles=[known.get(film_id, nameless)[0] or f"film {film_id}" for film_id in rated],
        tags=[known.get(film_id, nameless)[1] for film_id in rated],
        kind="film",
    )


def _film_of_100k(line: bytes) -> _Film:
    """Take ``id|title|release|video release|address|19 flags`` apart, or raise ValueError."""
    film_id, title, _, _, _, *flags = line.split(b"|")
    genres = [genre for genre, flag in zip(_GENRES, flags, strict=True) if int(flag)]
    return int(film_id), text(title), [genre for genre in genres if genre != "unknown"]


def _film_of_1m(line: bytes) -> _Film:
    """Take ``id::title::genre|genre`` apart, or raise ValueError."""
    film_id, rest = line.split(b"::", 1)
    title, genres = rest.rsplit(b"::", 1)
    return int(film_id), text(title), [text(genre) for genre in genres.split(b"|") if genre.strip()]
