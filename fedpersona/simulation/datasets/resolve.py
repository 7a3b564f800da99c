"""From what a person types to a split: a dataset's name, the path of an ``.npz`` file, or a converted folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fedpersona.errors import ConfigError, DataError, UnknownName
from fedpersona.simulation.datasets import columnar, lastfm, leave_one_out, movielens, npz
from fedpersona.simulation.datasets.folders import Original, data_folder, expanded
from fedpersona.simulation.population import Split

__all__ = ["KNOWN", "available", "load"]

_SYNTHETIC = "synthetic"
_REAL: dict[str, tuple[Original, Callable[[Path | None], Split]]] = {
    "lastfm-2k": (lastfm.ORIGINAL, lastfm.read),
    "ml-100k": (movielens.ML_100K, movielens.read_100k),
    "ml-1m": (movielens.ML_1M, movielens.read_1m),
}

KNOWN: tuple[str, ...] = (*_REAL, _SYNTHETIC)
"""The datasets that go by a name; the path of an ``.npz`` split or of a converted folder works as well."""

_DEFAULT_PEOPLE = 2000


def load(
    source: str,
    *,
    data: Path | None = None,
    seed: int = 0,
    people: int | None = None,
    items: int | None = None,
) -> Split:
    """Return the split that a name or a path stands for.

    Args:
        source: one of ``KNOWN``, or the path of an ``.npz`` split or of a folder that ``fedpersona convert`` made
            (``./synthetic`` for a file of that name).
        data: the folder with original files; the environment variable FEDPERSONA_DATA where it is None.
        seed: seeds the synthetic people. Real datasets are split the same whatever it is.
        people: how many synthetic people; 2,000 where it is None.
        items: how many synthetic items; chosen from the number of people where it is None.

    Raises:
        UnknownName: the source is neither a known name nor a path.
        ConfigError: people or items were given for another source than ``synthetic``.
        DataNotFound: the original files, or the file at the path, are not there.
        DataError: they are there, and are not what they should be.
    """
    if source == _SYNTHETIC:
        return _synthetic(seed=seed, people=_DEFAULT_PEOPLE if people is None else people, items=items)
    for option, value in (("people", people), ("items", items)):
        if value is not None:
            raise ConfigError(f"'{option}' sizes the synthetic population only: leave it out for '{source}'")
    if source in _REAL:
        _, read = _REAL[source]
        return read(data_folder(data))
    if _is_path(source):
        path = expanded(Path(source))
        if columnar.is_parquet(path):
            raise DataError("is not read as it is: make a folder of it first with 'fedpersona convert'", path=path)
        return columnar.read(path) if path.is_dir() else npz.read(path)
    raise UnknownName("dataset", source, (*KNOWN, "or give the path of an .npz split or of a converted folder"))


def available(data: Path | None = None) -> dict[str, str | None]:
    """Return the folder of each real dataset, None where it is not there; nothing is read.

    Args:
        data: the folder with original files; the environment variable FEDPERSONA_DATA where it is None.
    """
    folder = data_folder(data)
    found = {name: original.find(folder) for name, (original, _) in _REAL.items()}
    return {name: None if where is None else str(where) for name, where in found.items()}


def _is_path(source: str) -> bool:
    separators = {os.sep, os.altsep} - {None}
    if source.endswith(".npz") or any(s in source for s in separators if s):
        return True
    return Path(source).is_file() or columnar.is_population(Path(source))


def _synthetic(*, seed: int, people: int, items: int | None) -> Split:
    from fedpersona.simulation.synthetic import generate  # needed for this source alone

    return leave_one_out.by_time(generate(people=people, items=items, seed=seed))
