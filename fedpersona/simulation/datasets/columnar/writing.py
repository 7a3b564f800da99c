"""A split into a folder of columns, some people at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import OutputError
from fedpersona.simulation.datasets.columnar.columns import CATALOGUE, COLUMNS, HEADER, Column, Header
from fedpersona.simulation.datasets.leave_one_out import NEGATIVES
from fedpersona.simulation.mapped_array import sync
from fedpersona.simulation.new_folder import beside
from fedpersona.simulation.population import Split

__all__ = ["People", "SplitFolder", "check_new", "new_population", "write_split"]

_INTERACTIONS = 1 << 22
"""Interactions that are written together."""


@dataclass(frozen=True, eq=False)
class People:
    """Some people of a split, whole."""

    lengths: NDArray[np.integer]
    """How many items each has to train on, shape (n,)."""
    columns: dict[str, NDArray[Any]]
    """All that is there of :data:`COLUMNS`, but ``indptr``; weights may be missing where all are one."""


class SplitFolder:
    """The columns of one folder while people are added."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._columns: dict[str, Column] = {}
        self._weighted = False
        self.people = 0
        self.interactions = 0
        self._column("indptr").append(np.zeros(1, np.int64))

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            width = NEGATIVES if name.endswith("_negatives") else None
            column = Column(self.folder / f"{name}.npy", COLUMNS[name], width)
            self._columns[name] = self._stack.enter_context(column)
        return self._columns[name]

    def append(self, people: People) -> None:
        """Add people after those that are there."""
        self._column("indptr").append(self.interactions + np.cumsum(people.lengths, dtype=np.int64))
        for name, values in people.columns.items():
            self._column(name).append(values)
        weights = people.columns.get("weights")
        self._weighted = self._weighted or (weights is not None and bool((weights != 1.0).any()))
        self.people += len(people.lengths)
        self.interactions += int(np.sum(people.lengths))

    def finish(self, name: str, catalogue: Catalogue) -> None:
        """Write the catalogue, and the header last: without it nothing of the folder is believed."""
        hashes = {column: written.finish() for column, written in self._columns.items()}
        if "weights" in hashes and not self._weighted:
            (self.folder / "weights.npy").unlink()
            del hashes["weights"]
        words = json.dumps(_words(catalogue), separators=(",", ":")).encode()
        _write_whole(self.folder / CATALOGUE, words)
        hashes["catalogue"] = hashlib.sha256(words).hexdigest()
        header = Header(
            name=name, people=self.people, items=len(catalogue), interactions=self.interactions, hashes=hashes
        )
        _write_whole(self.folder / HEADER, header.model_dump_json(indent=2).encode())
        sync(self.folder)


def _words(catalogue: Catalogue) -> dict[str, Any]:
    """Return a catalogue as JSON; null stands for what :meth:`Catalogue.create` fills in."""
    usual = all(
        title == f"{catalogue.kind} {item}" for title, item in zip(catalogue.titles, catalogue.ids, strict=True)
    )
    return {
        "kind": catalogue.kind,
        "ids": catalogue.ids,
        "titles": None if usual else catalogue.titles,
        "artists": catalogue.artists if any(catalogue.artists) else None,
        "tags": catalogue.tags if any(catalogue.tags) else None,
        "links": catalogue.links or None,
    }


def _write_whole(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sync(path)


def check_new(out: Path) -> None:
    """Check that nothing is there yet.

    Raises:
        OutputError: something is.
    """
    if out.exists() or out.is_symlink() or out.name in ("", ".."):
        raise OutputError(f"{out}: is there already; name another folder, or move it away")


@contextmanager
def new_population(out: Path) -> Iterator[SplitFolder]:
    """Give a folder to fill and ``finish``, and name it ``out`` in the end; after an error nothing is there.

    Raises:
        OutputError: something is there already, or it cannot be written.
    """
    check_new(out)
    with beside(out, advice="name another folder") as partial:
        with ExitStack() as stack:
            yield SplitFolder(partial, stack)
        if out.exists():
            raise OutputError(f"{out}: is there already; it was not when this began")
        partial.rename(out)
        sync(out.parent)


def write_split(split: Split, out: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Write a split as a folder of columns.

    Args:
        split: what to write; ``complete`` is left out.
        out: a new folder.
        progress: called with (people written, people).

    Raises:
        OutputError: it is there already, or cannot be written; nothing is left under its name then.
    """
    train, people = split.train, len(split.train)
    with new_population(out) as folder:
        begin = 0
        while begin < people:
            goal = train.indptr[begin] + _INTERACTIONS
            end = min(people, max(begin + 1, int(np.searchsorted(train.indptr, goal, side="right")) - 1))
            folder.append(_some(split, begin, end))
            begin = end
            progress(end, people)
        folder.finish(train.name, train.catalogue)


def _some(split: Split, begin: int, end: int) -> People:
    train = split.train
    rows = slice(int(train.indptr[begin]), int(train.indptr[end]))
    columns: dict[str, NDArray[Any] | None] = {
        "items": train.items[rows],
        "weights": train.weights[rows],
        "times": None if train.times is None else train.times[rows],
        "person_ids": train.person_ids[begin:end],
        "val": split.val[begin:end],
        "test": split.test[begin:end],
        "val_negatives": None if split.val_negatives is None else split.val_negatives[begin:end],
        "test_negatives": None if split.test_negatives is None else split.test_negatives[begin:end],
    }
    present = {name: column for name, column in columns.items() if column is not None}
    return People(np.diff(train.indptr[begin : end + 1]), present)
