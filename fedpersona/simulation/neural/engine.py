"""Modules of PyTorch for many devices at once: chunks of devices, each trained side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array

from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import offsets
from fedpersona.randomness import fingerprint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort.form import IntegerSum
from fedpersona.simulation.engine import Engine, Progress, silent
from fedpersona.simulation.neural.lanes import Lanes
from fedpersona.simulation.neural.together import Trained, train_together
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.simulated_device import training_keys
from fedpersona.taste.counters import DEVICES
from fedpersona.taste.model import Shared
from fedpersona.taste.neural import TorchTaste
from fedpersona.taste.neural.descent import FAR
from fedpersona.wire.plan import Plan

__all__ = ["NeuralEngine", "as_row_table", "by_name"]

_MOST_LANES = 64
"""More side by side is hardly faster, and leaves the processor's cache."""
_MOST_BYTES = 1 << 29


class NeuralEngine(Engine):
    """Devices of one module, side by side in chunks.

    One thread does all: a result does not depend on how many cores there are, and the same devices in the same chunks
    give the same bits. What a device gives is not the same to the last bit beside others: torch's kernels round the
    ends of arrays otherwise than their middle. So other chunks, or shards, give sums that differ in the rounding of
    single precision, unlike those of the other engines. A plan's metrics are for
    :class:`fedpersona.simulation.engine.DeviceEngine`.

    Args:
        model: the taste model.
        population: the people.
        behaviour: who can be reached, and who leaves.
        progress: hears how many devices are done.
        privates: what each person keeps, where the model remembers; a row each.
        first: number of the first person, where these are a shard of more.
        most_lanes: devices of a chunk at most.
        most_bytes: memory of a chunk, about.
    """

    description = "modules side by side, by torch.func"

    def __init__(
        self,
        model: TorchTaste,
        population: Population,
        behaviour: Behaviour,
        progress: Progress = silent,
        *,
        privates: PrivateTable | None = None,
        first: int = 0,
        most_lanes: int = _MOST_LANES,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        super().__init__(model, population, behaviour, progress, privates=privates, first=first)
        self.taste = model
        self.most_lanes = most_lanes
        self.most_bytes = most_bytes

    def add(
        self, total: IntegerSum, plan: Plan, shared: Shared, fixed_point: FixedPoint, devices: NDArray[np.int64]
    ) -> None:
        """Add one chunk after another.

        Raises:
            ConfigError: the plan asks for metrics, the module cannot be mapped over devices, or the training of every
                device went out of bounds.
        """
        if plan.metrics:
            raise ConfigError("the engine 'cohort' does not test models on devices: use the engine 'device'")
        tensors = {name: torch.tensor(array) for name, array in shared.arrays.items()}
        done, trained, lost = 0, 0, 0
        for members in self._chunks(devices):
            people = members - self.first
            plays = [self.population.plays(person) for person in people.tolist()]
            keys = training_keys(plan, members)
            items = len(self.population.catalogue)
            lanes = Lanes([self.taste.steps(one, key, items) for one, key in zip(plays, keys, strict=True)], items)
            people, sorted_plays = people[lanes.order], [plays[lane] for lane in lanes.order.tolist()]
            before = self._kept(people, shared)
            after = train_together(self.taste, tensors, before, lanes)
            fine = _fine(after, lanes)
            prints = np.array([fingerprint(one.items) for one in sorted_plays], np.uint64)
            _add_encoded(total, plan, fixed_point, self.taste, after, lanes, prints, fine)
            if self.privates is not None and before:
                rows = as_row_table({name: after.private[name] for name in before})
                self.privates.put(people[fine], rows[fine])
            done += len(members)
            trained, lost = trained + int(np.count_nonzero(lanes.counts)), lost + int(np.count_nonzero(~fine))
            self.progress(done, len(devices))
        if lost and lost == trained:
            raise ConfigError(
                f"{self.model.name}: the training of every device gave numbers that are not finite; lower lr, which is "
                f"{self.taste.lr:g}"
            )
        total[DEVICES] += len(devices) * np.int64(fixed_point.encode(DEVICES, np.ones(1), 0.0)[0])

    def _kept(self, people: NDArray[np.int64], shared: Shared) -> dict[str, NDArray[np.float32]]:
        shapes = self.taste.private_shapes()
        if not shapes:
            return {}
        if self.privates is None:
            raise ConfigError(f"{self.model.name} remembers: an engine needs the table of what devices keep")
        return by_name(self.privates.take(people), shapes)

    def _chunks(self, devices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Give devices in chunks of like histories, the longest first, each within the bound of memory."""
        people = devices - self.first
        lengths = self.population.indptr[people + 1] - self.population.indptr[people]
        order = np.argsort(-lengths, kind="stable")
        sizes = self._bytes(lengths[order])
        start = 0
        while start < len(order):
            fitting = int(np.searchsorted(np.cumsum(sizes[start : start + self.most_lanes]), self.most_bytes, "right"))
            end = start + max(1, fitting)
            yield devices[order[start:end]]
            start = end

    def _bytes(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return about how much memory each device takes in a chunk."""
        plan, items = self.taste.blueprint, len(self.population.catalogue)
        shapes = self.taste.shared_shapes(items)
        width = sum(shapes[table][1] for table in plan.tables)
        numbers = sum(prod(shapes[name]) for name in plan.dense)
        samples = lengths * (1 + self.taste.negatives) * self.taste.epochs
        sizes: NDArray[np.int64] = (
            48 * samples
            + 12 * width * np.minimum(samples, items)
            + 16 * numbers
            + plan.saved_bytes(self.taste.batch, self.taste.negatives)
        )
        return sizes


def _fine(after: Trained, lanes: Lanes) -> NDArray[np.bool_]:
    """Return which lanes stayed in the range of numbers, shape (lanes,)."""
    fine = np.ones(len(lanes), bool)
    for array in (*after.private.values(), *after.moved.values()):
        flat = array.reshape(len(lanes), -1)
        fine &= (flat.max(axis=1, initial=0.0) <= FAR) & (flat.min(axis=1, initial=0.0) >= -FAR)
    for rows in after.rows_moved.values():
        bad = ~((rows.max(axis=1) <= FAR) & (rows.min(axis=1) >= -FAR))
        fine[lanes.row_lanes[bad]] = False
    return fine


def _add_encoded(
    total: IntegerSum,
    plan: Plan,
    fixed_point: FixedPoint,
    model: TorchTaste,
    after: Trained,
    lanes: Lanes,
    prints: NDArray[np.uint64],
    fine: NDArray[np.bool_],
) -> None:
    """Shorten each device's update, encode it with the device's offsets, and add it."""
    factors = np.where(fine, _factors(plan, model, after, lanes), 0.0)
    for name, moved in after.moved.items():
        flat = np.where(fine[:, np.newaxis], moved.reshape(len(lanes), -1), 0.0).astype(np.float64)
        flat *= factors[:, np.newaxis]
        encoded = fixed_point.encode(name, flat, offsets(plan, name, prints)[:, np.newaxis])
        total[name] += encoded.sum(axis=0).reshape(moved.shape[1:])
    there, places = np.unique(lanes.rows, return_inverse=True)
    columns = np.arange(len(places) + 1)
    gathering = csc_array((np.ones(len(places), np.int64), places, columns), shape=(len(there), len(places)))
    for table, rows in after.rows_moved.items():
        values = rows.astype(np.float64)
        values[~fine[lanes.row_lanes]] = 0.0
        values *= factors[lanes.row_lanes][:, np.newaxis]
        encoded = fixed_point.encode(table, values, offsets(plan, table, prints)[lanes.row_lanes][:, np.newaxis])
        total[table][there] += np.asarray(gathering @ encoded, np.int64)


def _factors(plan: Plan, model: TorchTaste, after: Trained, lanes: Lanes) -> NDArray[np.float64]:
    """Return what each device's update is multiplied by: it is no longer than the model says, and the plan."""
    squares = np.zeros(len(lanes))
    with np.errstate(over="ignore", invalid="ignore"):
        for moved in after.moved.values():
            flat = moved.reshape(len(lanes), -1).astype(np.float64)
            squares += np.einsum("ij,ij->i", flat, flat)
        for rows in after.rows_moved.values():
            wide = rows.astype(np.float64)
            squares += np.bincount(lanes.row_lanes, np.einsum("ij,ij->i", wide, wide), minlength=len(lanes))
        longest = model.longest if plan.clip is None else min(model.longest, plan.clip * model.longest)
        return np.minimum(1.0, longest / np.maximum(np.sqrt(squares), 1e-300))


def by_name(rows: NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Return the arrays that rows of private parts hold, each of shape (devices, ...)."""
    arrays, place = {}, 0
    for name, shape in shapes.items():
        arrays[name] = np.ascontiguousarray(rows[:, place : place + prod(shape)]).reshape(len(rows), *shape)
        place += prod(shape)
    return arrays


def as_row_table(arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return rows of private parts, the arrays of each device one after another."""
    return np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], axis=1)
