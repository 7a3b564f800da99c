"""A fixed split in one ``.npz`` file, checked so that no figure from it can mislead.

``n_users`` and ``n_items`` are sizes; ``train_u`` and ``train_i`` are the training pairs as rows from 0; ``val_i``
and ``test_i`` are one held-out item a person. Optional: ``train_ts`` (Unix seconds of each pair), ``val_neg`` and
``test_neg`` (99 items a person, outside all of theirs), ``uid`` and ``mid`` (the source's ids of people and
items). Anything else in the file, ratings for instance, is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SplitError
from fedpersona.simulation.datasets.leave_one_out import NEGATIVES
from fedpersona.simulation.datasets.npz_arrays import read_arrays
from fedpersona.simulation.population import Population, Split

__all__ = ["read"]

_REQUIRED = ("n_users", "n_items", "train_u", "train_i", "val_i", "test_i")
_OPTIONAL = ("train_ts", "val_neg", "test_neg", "uid", "mid")

_MOST_PEOPLE = 100_000_000
_MOST_ITEMS = 10_000_000
"""Sizes above these are taken for mistakes: a catalogue is built in memory from nothing but its size."""

_PEOPLE_AT_ONCE = 65_536


def read(path: Path) -> Split:
    """Read a split and check it whole.

    Args:
        path: the ``.npz`` file; the population is called by its stem.

    Returns:
        The split. Pairs weigh 1 each; ``complete`` is None, since the file has no times of held-out items.

    Raises:
        DataNotFound: there is no such file.
        DataError: an array is missing, or not of the right type, shape or range.
        SplitError: a pair comes twice, a held-out item is also trained on, a negative is the person's own item,
            or a person has nothing to learn from. Every message names the file, the array and the first index.
    """
    arrays = read_arrays(path, (*_REQUIRED, *_OPTIONAL))
    for name in _REQUIRED:
        if name not in arrays:
            raise DataError(f"the array is missing: a split needs {', '.join(_REQUIRED)}", path=path, place=name)
    return _SplitFile(path, arrays).split()


class _SplitFile:
    """The arrays of one file, taken out one by one with the checks that each needs."""

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.path = path
        self.arrays = arrays
        self.people = self._size("n_users", _MOST_PEOPLE)
        self.items = self._size("n_items", _MOST_ITEMS)

    def split(self) -> Split:
        """Check everything, the cheap and the plain first."""
        pairs = len(self._integers("train_u", (None,)))
        person = self._rows("train_u", (pairs,), self.people)
        item = self._rows("train_i", (pairs,), self.items)
        val = self._rows("val_i", (self.people,), self.items)
        test = self._rows("test_i", (self.people,), self.items)
        times = self._integers("train_ts", (pairs,)) if "train_ts" in self.arrays else None
        keys = self._check_pairs(person, item)
        self._check_held_out(keys, person, item, val, test)
        return Split(
            train=Population.from_pairs(
                self.path.stem, self._catalogue(), person, item, person_ids=self._person_ids(), times=times
            ),
            val=val.astype(np.int32),
            test=test.astype(np.int32),
            val_negatives=self._negatives("val_neg", keys, val, test),
            test_negatives=self._negatives("test_neg", keys, val, test),
        )

    def _wrong(self, problem: str, name: str, index: tuple[int, ...] | None = None) -> DataError:
        place = name if index is None else f"{name}[{', '.join(map(str, index))}]"
        return DataError(problem, path=self.path, place=place)

    def _misleading(self, problem: str, name: str, *index: int) -> SplitError:
        return SplitError(problem, path=self.path, place=f"{name}[{', '.join(map(str, index))}]")

    def _size(self, name: str, most: int) -> int:
        array = self.arrays[name]
        if array.size != 1 or array.dtype.kind not in "iu":
            raise self._wrong(f"one whole number belongs there, not {_described(array)}", name)
        size = int(array.item())
        if not 0 < size <= most:
            raise self._wrong(f"is {size}: a number from 1 to {most:,} belongs there", name)
        return size

    def _integers(self, name: str, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
        """Return an array as int64, in the shape it must have; None stands for any length."""
        array = self.arrays[name]
        if array.dtype.kind == "f" and (bad := np.argwhere(~np.isfinite(array))).size:
            index = tuple(bad[0].tolist())
            raise self._wrong(f"is {array[index]}: a whole number belongs there", name, index)
        if array.dtype.kind not in "iu":
            raise self._wrong(f"has type {array.dtype}: save it with an integer type", name)
        if array.ndim != len(shape) or any(b is not None and a != b for a, b in zip(array.shape, shape, strict=True)):
            wanted = " x ".join("any" if length is None else f"{length}" for length in shape)
            raise self._wrong(f"has shape {array.shape}: {wanted} belongs there", name)
        if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            index = tuple(np.argwhere(array > np.iinfo(np.int64).max)[0].tolist())
            raise self._wrong(f"is {array[index]}: too large for a signed whole number", name, index)
        return array.astype(np.int64)

    def _rows(self, name: str, shape: tuple[int, ...], size: int) -> NDArray[np.int64]:
        """Return an array of positions in [0, size)."""
        rows = self._integers(name, shape)
        bad = np.argwhere((rows < 0) | (rows >= size))
        if bad.size:
            index = tuple(bad[0].tolist())
            raise self._wrong(f"is {rows[index]}: rows go from 0 to {size - 1}", name, index)
        return rows

    def _check_pairs(self, person: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.int64]:
        """Refuse repeated pairs and people without any; return the pairs as sorted numbers, one each."""
        idle = np.flatnonzero(np.bincount(person, minlength=self.people) == 0)
        if idle.size:
            raise SplitError(
                f"person {idle[0]} has no training pair ({idle.size} such people): leave them out, since there "
                "is nothing to learn from",
                path=self.path,
                place="train_u",
            )
        keys = person * self.items + item
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        again = np.diff(keys) == 0
        if again.any():
            index = int(order[1:][again].min())
            raise self._misleading(f"person {person[index]} has item {item[index]} a second time", "train_i", index)
        return keys

    def _check_held_out(
        self,
        keys: NDArray[np.int64],
        person: NDArray[np.int64],
        item: NDArray[np.int64],
        val: NDArray[np.int64],
        test: NDArray[np.int64],
    ) -> None:
        everyone = np.arange(self.people)
        for name, held_out in (("val_i", val), ("test_i", test)):
            leaked = np.flatnonzero(_contains(keys, everyone * self.items + held_out))
            if leaked.size:
                who = int(leaked[0])
                where = int(np.flatnonzero((person == who) & (item == held_out[who]))[0])
                raise self._misleading(
                    f"item {held_out[who]} of person {who} is held out, and trained on at train_i[{where}]",
                    name,
                    who,
                )
        same = np.flatnonzero(val == test)
        if same.size:
            who = int(same[0])
            raise self._misleading(f"item {test[who]} of person {who} is also their item in val_i", "test_i", who)

    def _negatives(
        self, name: str, keys: NDArray[np.int64], val: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[np.int32] | None:
        if name not in self.arrays:
            return None
        negatives = self._rows(name, (self.people, NEGATIVES), self.items)
        for begin in range(0, self.people, _PEOPLE_AT_ONCE):
            some = slice(begin, min(begin + _PEOPLE_AT_ONCE, self.people))
            drawn = negatives[some]
            person = np.arange(some.start, some.stop)[:, None]
            own = _contains(keys, person * self.items + drawn)
            own |= (drawn == val[some, None]) | (drawn == test[some, None])
            if own.any():
                row, column = np.argwhere(own)[0].tolist()
                problem = f"item {drawn[row, column]} is one of the person's own, and cannot be a negative"
                raise self._misleading(problem, name, begin + row, column)
            repeated = (np.diff(np.sort(drawn, axis=1), axis=1) == 0).any(axis=1)
            if repeated.any():
                raise self._misleading("the same item comes twice", name, begin + int(np.argmax(repeated)))
        return negatives.astype(np.int32)

    def _person_ids(self) -> NDArray[np.int64]:
        if "uid" not in self.arrays:
            return np.arange(self.people)
        ids = self._integers("uid", (self.people,))
        self._check_unique("uid", ids)
        return ids

    def _catalogue(self) -> Catalogue:
        if "mid" not in self.arrays:
            return Catalogue.create(map(str, range(self.items)))
        ids = self.arrays["mid"]
        if ids.dtype.kind != "U":
            ids = self._integers("mid", (self.items,))
        elif ids.shape != (self.items,):
            raise self._wrong(f"has shape {ids.shape}: {self.items} belongs there", "mid")
        elif not _is_unicode(ids):
            raise self._wrong("holds text that is not Unicode", "mid")
        self._check_unique("mid", ids)
        return Catalogue.create(map(str, ids.tolist()))

    def _check_unique(self, name: str, ids: NDArray[Any]) -> None:
        order = np.argsort(ids, kind="stable")
        again = ids[order][1:] == ids[order][:-1]
        if again.any():
            index = int(order[1:][again].min())
            raise self._wrong(f"the id {ids[index]} comes a second time", name, (index,))


def _contains(sorted_keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the wanted are among the sorted keys, of which there is at least one."""
    place = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    found: NDArray[np.bool_] = sorted_keys[place] == wanted
    return found


def _is_unicode(text: NDArray[np.str_]) -> bool:
    """Return whether Python can make strings of an array's text, which numpy itself never checks."""
    codes = np.ascontiguousarray(text).view(np.dtype(np.uint32).newbyteorder(text.dtype.byteorder))
    surrogates = (codes >= 0xD800) & (codes < 0xE000)
    return not bool((surrogates | (codes > 0x10FFFF)).any())


def _described(array: NDArray[Any]) -> str:
    return f"an array of shape {array.shape} and type {array.dtype}"
