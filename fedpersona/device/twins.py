"""Rows of a catalogue that are one recording under two ids: who has heard one of them has heard them all."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device.matching import name_keys

__all__ = ["first_rows", "with_twins"]

_found: WeakKeyDictionary[Catalogue, NDArray[np.int32]] = WeakKeyDictionary()


def first_rows(catalogue: Catalogue) -> NDArray[np.int32]:
    """Return for each row the first row of the same recording, most often the row itself, shape (items,).

    Rows are one recording where their names are the same to the :class:`~fedpersona.device.matching.Matcher` or they
    share a link; in a catalogue of artists, where the artist's name is the same. An item without an artist or a
    title is only itself. Worked out once for a catalogue.
    """
    if catalogue not in _found:
        _found[catalogue] = _first_rows(catalogue)
    return _found[catalogue]


def with_twins(rows: NDArray[np.integer], catalogue: Catalogue) -> NDArray[np.bool_]:
    """Tell of each item whether it is one of ``rows`` or the same recording as one of them, shape (items,)."""
    first = first_rows(catalogue)
    marked = np.zeros(len(catalogue), bool)
    marked[first[rows]] = True
    return marked[first]


def _first_rows(catalogue: Catalogue) -> NDArray[np.int32]:
    first = list(range(len(catalogue)))  # each row's parent; a parent is never a later row

    def top(row: int) -> int:
        while first[row] != row:
            first[row] = row = first[first[row]]
        return row

    owner: dict[Hashable, int] = {}
    for name, row in _names(catalogue):
        other = owner.setdefault(name, row)
        if other != row:
            low, high = sorted((top(other), top(row)))
            first[high] = low
    found = np.array([top(row) for row in range(len(first))], np.int32)
    found.setflags(write=False)  # it is given out again
    return found


def _names(catalogue: Catalogue) -> Iterator[tuple[Hashable, int]]:
    of_artists = catalogue.kind == "artist"
    for row, key in enumerate(name_keys(catalogue)):
        if key[0] and (key[1] or of_artists):
            yield key, row
    for row, links in enumerate(catalogue.links):
        for link in links:
            yield link.lower() if link.lower().startswith("mbid:") else link, row
