"""Trains many devices of a factor model with the compiled kernel: the same bits for any number of threads."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import BoundExceeded, ConfigError, DataError
from fedpersona.simulation.kernel.job import BOUND, FINE, HISTORY, MEMORY, STOPPED, TOO_MANY, VERSION, Job, address
from fedpersona.simulation.kernel.library import Library
from fedpersona.taste.gradient.descent import Recipe

__all__ = ["Histories", "Moved", "Summing", "Trainer"]

_CHUNK = 256
"""Devices of one call: between calls Ctrl-C is heard and progress told."""
_ORDERS = {"together": 0, "alternate": 1, "rebuild": 2}
_LOSSES = {"bce": 0, "bpr": 1}
_MOST = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Histories:
    """Who trains: rows of a compressed sparse table (CSR)."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    """Increasing within a row."""
    people: NDArray[np.int64] | None = None
    """Rows that train, in the order of keys and private parts; None for all."""
    weights: NDArray[np.float32] | None = None
    """Of the plays where a person is rebuilt, by default alike."""

    def __len__(self) -> int:
        return max(0, len(self.indptr) - 1) if self.people is None else len(self.people)


@dataclass(frozen=True, eq=False)
class Summing:
    """How updates are bounded, rounded and summed."""

    total: NDArray[np.int32] | NDArray[np.int64]
    """Added to, (items, dim): int32 for sums modulo 2^32, int64 for those modulo 2^64."""
    longest: float
    clip: float
    """Longest update in units of ``measure``; infinite where none is asked for."""
    measure: float
    bound: float
    scale: float
    rounding_key: int
    toward_zero: bool


@dataclass(frozen=True, eq=False)
class Moved:
    """The items that devices looked up while they trained, as these devices have them then."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    items: NDArray[np.int32]
    rows: NDArray[np.float32]

    def of(self, device: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return one device's items, each once, its history first, and their vectors, shape (items, dim)."""
        part = slice(int(self.first[device]), int(self.first[device] + self.count[device]))
        return self.items[part], self.rows[part]


class Trainer:
    """Threads and their memory, kept from call to call.

    Args:
        library: the kernel.
        n_items: rows of the catalogue.
        dim: length of a vector.
        workers: threads.
        variant: of the kernel, by default the best that runs here; all give the same bits.

    Raises:
        ConfigError: the catalogue or a vector is too large for the kernel, or memory is short.
    """

    def __init__(
        self, library: Library, n_items: int, dim: int, *, workers: int = 1, variant: int | None = None
    ) -> None:
        if not 1 <= n_items <= _MOST or not 1 <= dim <= 1024:
            raise ConfigError(
                f"the compiled kernel takes 1 to {_MOST:,} items and 1 to 1,024 dimensions, not {n_items:,} and {dim:,}"
            )
        self._functions = library.functions
        self.n_items, self.dim = n_items, dim
        self.variant = library.best if variant is None else variant
        self._lanes = [_Lane(library.functions, n_items, dim) for _ in range(max(1, workers))]
        self._pool = ThreadPoolExecutor(len(self._lanes) - 1) if len(self._lanes) > 1 else None
        self._locks = np.zeros(library.lock_bytes + 64, np.uint8)

    def train(
        self,
        recipe: Recipe,
        items: NDArray[np.float32],
        histories: Histories,
        keys: NDArray[np.uint64],
        privates: NDArray[np.float32] | None = None,
        *,
        summing: Summing | None = None,
        moved: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Moved | None:
        """Train devices as :func:`fedpersona.taste.gradient.descent.descend` defines it, in float32.

        Args:
            recipe: how.
            items: the shared table, shape (items, dim).
            histories: who.
            keys: what begins the draws of each, shape (devices,).
            privates: vector and, where the recipe has one, bias of each device, shape (devices, dim or dim + 1): they
                are trained in place; None where they are of no use afterwards, and begin with nothing.
            summing: what becomes of the updates; None where they are not wanted.
            moved: whether the items that each device moved are wanted, as for lists from a device's own items.
            progress: hears how many devices are done.

        Raises:
            DataError: an array is not of its type or shape, or a device's items do not increase within the catalogue.
            BoundExceeded: an update has an entry above its bound.
            ConfigError: a device has more samples than can be counted, or memory is short.
        """
        devices = len(histories)
        self._check(items, histories, keys, privates, recipe)
        room = self._room(recipe, histories) if moved else None
        job = self._job(recipe, items, histories, keys, privates)
        if summing is not None:
            self._sum_into(job, summing)
        job.held = (items, histories, keys, privates, summing, room)
        if room is not None:
            job.moved_first, job.moved_count = address(room.first), address(room.count)
            job.moved_items, job.moved_rows = address(room.items), address(room.rows)
        self._run(job, devices, progress)
        if job.status != FINE:
            raise _failure(job, histories)
        return room

    def drain(self, total: NDArray[np.int64], partial_sum: NDArray[np.int32]) -> None:
        """Add a sum of 32 bits to one of 64, and clear it."""
        self._functions.kernel_drain(address(total), address(partial_sum), total.size)

    def _run(self, job: Job, devices: int, progress: Callable[[int, int], None]) -> None:
        helpers = self._lanes[1:] if devices > 1 else []
        job.threads = 1 + len(helpers)
        stopped: BaseException | None = None
        try:
            working = [self._pool.submit(self._help, job, lane) for lane in helpers] if self._pool is not None else []
            self._work(job, self._lanes[0], partial(_tell, job, devices, progress))
            for helper in working:
                helper.result()
        except BaseException as error:  # Ctrl-C, anywhere
            job.status, stopped = STOPPED, error
        # No helper works on once this returns or raises, however often Ctrl-C is pressed. Their locks tell, not what
        # was submitted: an interrupted call may not have said what it did. Who has not begun finds a job that is over.
        busy = [lane.busy for lane in helpers]
        while busy:
            try:
                while busy:
                    with busy[-1]:
                        busy.pop()
            except KeyboardInterrupt as error:
                job.status, stopped = STOPPED, error
        if stopped is not None:
            raise stopped
        if job.status == FINE:
            progress(devices, devices)

    def _help(self, job: Job, lane: _Lane) -> None:
        with lane.busy:
            self._work(job, lane)

    def _work(self, job: Job, lane: _Lane, told: Callable[[], None] = lambda: None) -> None:
        reference = ctypes.byref(job)
        while self._functions.kernel_run(reference, lane.memory, _CHUNK, self.variant) > 0:
            told()

    def _job(
        self,
        recipe: Recipe,
        items: NDArray[np.float32],
        histories: Histories,
        keys: NDArray[np.uint64],
        privates: NDArray[np.float32] | None,
    ) -> Job:
        return Job(
            version=VERSION,
            size=ctypes.sizeof(Job),
            devices=len(histories),
            people=address(histories.people),
            indptr=address(histories.indptr),
            indices=address(histories.items),
            plays=len(histories.items),
            weights=address(histories.weights),
            keys=address(keys),
            n_items=self.n_items,
            dim=self.dim,
            items=address(items),
            privates=address(privates),
            private_width=0 if privates is None else privates.shape[1],
            epochs=recipe.epochs,
            rebuild_epochs=recipe.rebuild_epochs,
            batch=recipe.batch,
            negatives=recipe.negatives,
            support=recipe.support,
            lr=recipe.lr,
            item_lr=recipe.item_lr,
            prox=recipe.prox,
            loss=_LOSSES[recipe.loss],
            order=_ORDERS[recipe.order],
            bias=recipe.bias,
        )

    def _sum_into(self, job: Job, summing: Summing) -> None:
        total = summing.total
        if total.shape != (self.n_items, self.dim) or not total.flags.c_contiguous:
            raise DataError(f"must be ({self.n_items}, {self.dim}) in one piece", place="total")
        if total.dtype not in (np.int32, np.int64):
            raise DataError(f"must be int32 or int64, not {total.dtype}", place="total")
        job.ring_bits, job.sum = 8 * total.itemsize, address(total)
        job.longest, job.clip, job.measure = summing.longest, summing.clip, summing.measure
        job.bound, job.scale, job.rounding_key = summing.bound, summing.scale, summing.rounding_key
        job.toward_zero = summing.toward_zero
        start = address(self._locks) or 0
        job.locks = start + -start % 64

    def _room(self, recipe: Recipe, histories: Histories) -> Moved:
        plays = np.diff(histories.indptr)
        plays = plays if histories.people is None else plays[histories.people]
        if len(plays) and plays.min() < 0:
            raise DataError("must not fall", place="indptr")
        passes = recipe.epochs + (recipe.rebuild_epochs if recipe.order == "rebuild" else 0)
        most = np.minimum(self.n_items, plays * (1 + recipe.negatives * passes))
        first = np.zeros(len(most), np.int64)
        np.cumsum(most[:-1], out=first[1:])
        size = int(most.sum())
        return Moved(first, np.zeros_like(first), np.empty(size, np.int32), np.empty((size, self.dim), np.float32))

    def _check(
        self,
        items: NDArray[np.float32],
        histories: Histories,
        keys: NDArray[np.uint64],
        privates: NDArray[np.float32] | None,
        recipe: Recipe,
    ) -> None:
        devices, width = len(histories), self.dim + recipe.bias
        _of("items", items, np.float32, (self.n_items, self.dim))
        _of("indptr", histories.indptr, np.int64, (max(1, histories.indptr.size),))
        _of("histories", histories.items, np.int32, (int(histories.indptr[-1]),))
        _of("keys", keys, np.uint64, (devices,))
        if histories.people is not None:
            _of("people", histories.people, np.int64, (devices,))
            rows = len(histories.indptr) - 1
            if devices and not (histories.people.min() >= 0 and histories.people.max() < rows):
                raise DataError(f"rows of these histories go from 0 to {rows - 1:,}", place="people")
        if histories.weights is not None:
            _of("weights", histories.weights, np.float32, histories.items.shape)
        if privates is not None:
            _of("privates", privates, np.float32, (devices, width))


class _Lane:
    """The memory of one thread."""

    def __init__(self, functions: Any, n_items: int, dim: int) -> None:
        self._free = functions.lane_free
        self.busy = threading.Lock()
        """Held while a helper is at work here."""
        self.memory = functions.lane_new(n_items, dim)
        if not self.memory:
            raise ConfigError(f"memory is short: a thread needs {4 * n_items:,} bytes for {n_items:,} items")

    def __del__(self) -> None:
        if getattr(self, "memory", None):
            self._free(self.memory)


def _tell(job: Job, devices: int, progress: Callable[[int, int], None]) -> None:
    done = min(job.next, devices)
    if done < devices:  # the end is told once
        progress(done, devices)


def _of(name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise DataError(
            f"must be {np.dtype(dtype)} of shape {shape} in one piece, is {array.dtype} of shape {array.shape}",
            place=name,
        )


def _failure(job: Job, histories: Histories) -> Exception:
    row = job.failed if histories.people is None else int(histories.people[job.failed])
    plays = int(histories.indptr[row + 1] - histories.indptr[row])
    if job.status == BOUND:
        return BoundExceeded(f"array 'items': an entry of a device is above the declared bound {job.bound:.4g}")
    if job.status == HISTORY:
        return DataError(
            f"row {row} must lie within the table, its items increase from 0 to at most {job.n_items - 1:,}",
            place="histories",
        )
    if job.status == TOO_MANY:
        return ConfigError(
            f"person {row}: {plays:,} plays with {job.negatives:,} negatives each are more samples than 2^31 - 1: "
            "lower negatives"
        )
    if job.status == MEMORY:
        return ConfigError(f"memory is short for the {plays:,} plays of person {row}: lower epochs or negatives")
    return RuntimeError(f"the kernel stopped with status {job.status}")
