"""A folder of columns back into a split, mapped into memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, DataNotFound
from fedpersona.simulation.datasets.columnar.columns import CATALOGUE, COLUMNS, HEADER, OPTIONAL, Header
from fedpersona.simulation.datasets.leave_one_out import NEGATIVES
from fedpersona.simulation.mapped_array import open_mapped
from fedpersona.simulation.population import Population, Split, pieces, unit_weights

__all__ = ["is_population", "open_shard", "read", "version"]


def is_population(path: Path) -> bool:
    """Return whether there is a folder with a population, as far as its names tell."""
    return (path / HEADER).is_file()


def read(folder: Path) -> Split:
    """Open a folder of columns, and check all of it against the hashes in its header.

    The columns stay on disk: what is looked at is mapped into memory, and given back when memory is short.

    Raises:
        DataNotFound: the folder, or a column, is not there.
        DataError: a file was cut off or changed since, or is not what it should be.
    """
    header = _header(folder)
    columns = _columns(folder, header)
    for name, column in columns.items():
        digest = hashlib.sha256()
        for piece in pieces(column):
            digest.update(piece.data)
        if digest.hexdigest() != header.hashes[name]:
            raise DataError("is not what was written: its hash differs", path=folder / f"{name}.npy")
    catalogue = _catalogue(folder, header)
    return Split(
        train=_population(folder, header, columns, catalogue, 0, header.people, folder),
        val=columns["val"],
        test=columns["test"],
        val_negatives=columns.get("val_negatives"),
        test_negatives=columns.get("test_negatives"),
    )


def open_shard(folder: Path, catalogue: Catalogue, begin: int, end: int, *, version: str) -> Population:
    """Open the people from position ``begin`` to before ``end``; the hashes are left to who has read all of it.

    Args:
        folder: of the population.
        catalogue: the one of the population, or its outline.
        begin: position of the first.
        end: position after the last.
        version: of the folder that is meant, from :func:`version`.

    Raises:
        DataNotFound: the folder is not there: a worker on another machine needs it under the same path.
        DataError: it is another version, or not whole.
    """
    header = _header(folder)
    if _hash(folder / HEADER) != version:
        raise DataError("is another population than the one that the run began with", path=folder)
    return _population(folder, header, _columns(folder, header), catalogue, begin, end, None)


def version(folder: Path) -> str:
    """Return what tells one content of a folder from another: the hash of its header, which has all others.

    Raises:
        DataNotFound: the folder is not there.
    """
    return _hash(folder / HEADER)


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataNotFound(f"cannot be read ({error.strerror})", path=path) from None


def _header(folder: Path) -> Header:
    try:
        header = Header.model_validate_json((folder / HEADER).read_bytes())
    except OSError as error:
        raise DataNotFound(
            "is a folder: name an .npz file in it, or a folder that 'fedpersona convert' made"
            if folder.is_dir()
            else f"no population can be read here ({error.strerror})",
            path=folder,
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"not the header of a population of this version: {first['msg'].lower()}",
            path=folder / HEADER,
            place=".".join(str(part) for part in first["loc"]) or None,
        ) from None
    known = {*COLUMNS, "catalogue"}
    missing, strange = known - OPTIONAL - set(header.hashes), set(header.hashes) - known
    if missing or strange:
        named = ", ".join(sorted(missing or strange))
        raise DataError(f"{'lacks' if missing else 'has an unknown'} {named}", path=folder / HEADER, place="hashes")
    return header


def _columns(folder: Path, header: Header) -> dict[str, NDArray[Any]]:
    people, pairs = header.people, header.interactions
    lengths = {"indptr": people + 1, "items": pairs, "weights": pairs, "times": pairs}
    columns = {}
    for name in header.hashes:
        if name != "catalogue":
            tail = (NEGATIVES,) if name.endswith("_negatives") else ()
            shape = (lengths.get(name, people), *tail)
            columns[name] = open_mapped(folder / f"{name}.npy", COLUMNS[name], shape)
    return columns


def _population(
    folder: Path,
    header: Header,
    columns: dict[str, NDArray[Any]],
    catalogue: Catalogue,
    begin: int,
    end: int,
    whole: Path | None,
) -> Population:
    indptr = np.asarray(columns["indptr"][begin : end + 1])
    rows = slice(int(indptr[0]), int(indptr[-1]))
    items, times = columns["items"][rows], columns.get("times")
    return Population(
        name=header.name,
        catalogue=catalogue,
        indptr=indptr - indptr[0],
        items=items,
        weights=columns["weights"][rows] if "weights" in columns else unit_weights(len(items)),
        times=None if times is None else times[rows],
        person_ids=np.asarray(columns["person_ids"][begin:end]),
        folder=whole,
    )


def _catalogue(folder: Path, header: Header) -> Catalogue:
    path = folder / CATALOGUE
    if _hash(path) != header.hashes["catalogue"]:
        raise DataError("is not what was written: its hash differs", path=path)
    try:
        words = json.loads(path.read_bytes())
        catalogue = Catalogue.create(
            words["ids"],
            titles=words["titles"],
            artists=words["artists"],
            tags=words["tags"],
            kind=words["kind"],
            links=words["links"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"is no catalogue ({error})", path=path) from None
    if len(catalogue) != header.items:
        raise DataError(f"has {len(catalogue):,} items, {header.items:,} belong there", path=path)
    return catalogue
