"""What a worker of a cluster does: sum the devices of one shard, and give back what they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, FedpersonaError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort.form import IntegerSum
from fedpersona.simulation.datasets.columnar import open_shard
from fedpersona.simulation.engine import silent
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.kernel import absence, library
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import MODELS, TasteModel, create
from fedpersona.taste.model import Shared
from fedpersona.wire.plan import Plan

__all__ = ["Answer", "ModelFacts", "Outline", "Refused", "Rows", "Stored", "cut", "pack", "run_shard", "unpack"]


class Outline(Catalogue):
    """How long a catalogue is and which version, without a word of it: all that a worker needs to know."""

    def __init__(self, catalogue: Catalogue) -> None:
        vars(self).update(length=len(catalogue), version=catalogue.version, kind=catalogue.kind)

    def __len__(self) -> int:
        return int(vars(self)["length"])


@dataclass(frozen=True)
class ModelFacts:
    """A taste model as its name and settings where it comes with fedpersona, else as itself."""

    name: str
    settings: Mapping[str, Any]
    itself: TasteModel | None
    """Sent by Ray's own means, which read a module that came in a file from that file again."""
    compiled: bool
    """Whether the compiled kernel is where the run began: the reference has other bits than it."""

    @classmethod
    def of(cls, model: TasteModel) -> ModelFacts:
        """Return what a model is made of again."""
        known = MODELS.get(model.name) is type(model)
        return cls(model.name, model.model_dump(), None if known else model, library() is not None)

    def make(self) -> TasteModel:
        """Return the model.

        Raises:
            ConfigError: this machine would not come to the same bits.
        """
        if self.compiled != (library() is not None):
            raise ConfigError(
                "a worker of the cluster and the machine where the run began do not both have the compiled kernel: "
                f"install the same fedpersona on both ({absence() or 'the worker has it'})"
            )
        return create(self.name, self.settings) if self.itself is None else self.itself


@dataclass(frozen=True)
class Stored:
    """A shard of a population that lies in a folder, which every worker can open."""

    folder: Path
    outline: Outline
    begin: int
    end: int
    version: str
    """Of the folder's content: another one is refused."""

    def open(self) -> Population:
        """Map the shard into memory; what was checked when the run began is not checked again."""
        return _opened(self)


@lru_cache(maxsize=64)
def _opened(stored: Stored) -> Population:
    return open_shard(stored.folder, stored.outline, stored.begin, stored.end, version=stored.version)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of an array of integers that are not zero; all of it where most are not."""

    shape: tuple[int, ...]
    places: NDArray[np.int64] | None
    values: NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Answer:
    """The sum of a shard, and what its devices keep."""

    sums: dict[str, Rows]
    kept: NDArray[np.float32] | None


@dataclass(frozen=True)
class Refused:
    """What a worker could not do, in a sentence."""

    why: str


def cut(population: Population, shards: int) -> list[tuple[int, int]]:
    """Return where shards of about as many interactions each begin and end, without empty ones."""
    goals = np.arange(1, shards) * (population.interactions / shards)
    inner = np.searchsorted(population.indptr, goals).tolist()
    edges = sorted({0, *inner, len(population)})
    return list(pairwise(edges))


def run_shard(
    facts: ModelFacts,
    people: Population | Stored,
    plan: Plan,
    shared: Shared,
    fixed_point: FixedPoint,
    devices: NDArray[np.int64],
    first: int,
    kept: NDArray[np.float32] | None,
) -> Answer | Refused:
    """Sum the devices of one shard by the fastest engine there is. It changes nothing but what it returns.

    Args:
        facts: the taste model.
        people: of the shard.
        plan: the round.
        shared: the model that the round starts from.
        fixed_point: of the round.
        devices: numbers of those that answer, increasing, shape (n,).
        first: the number of the shard's first person.
        kept: what they keep, shape (n, width); None where the model remembers nothing.
    """
    try:
        population = people.open() if isinstance(people, Stored) else people
        privates = None
        if kept is not None:  # zeros take no memory where nobody answers
            privates = PrivateTable(np.zeros((len(population), kept.shape[1]), np.float32))
            privates.put(devices - first, kept)
        with threadpool_limits(1):
            engine = make_engine(
                "cohort",
                facts.make(),
                population,
                Behaviour(),
                workers=1,
                progress=silent,
                privates=privates,
                first=first,
            )
            total = fixed_point.zeros()
            engine.add(total, plan, shared, fixed_point, devices)
    except FedpersonaError as error:  # not raised: some cannot be sent whole
        return Refused(str(error))
    return Answer(pack(total, fixed_point), None if privates is None else privates.take(devices - first))


def pack(total: IntegerSum, fixed_point: FixedPoint) -> dict[str, Rows]:
    """Make a sum small: in a ring of 32 bits no sum over the cohort takes more, and few devices touch few rows."""
    packed = {}
    for name, array in total.items():
        values: NDArray[np.integer] = array.astype(np.int32) if fixed_point.ring_bits == 32 else array
        flat = values.reshape(len(values), -1)
        places = np.flatnonzero(flat.any(axis=1)) if flat.shape[1] else np.empty(0, np.int64)
        if len(places) < len(values) // 2:
            packed[name] = Rows(array.shape, places, values[places])
        else:
            packed[name] = Rows(array.shape, None, values)
    return packed


def unpack(packed: Mapping[str, Rows], total: IntegerSum) -> None:
    """Add a packed sum to ``total``, in place."""
    for name, rows in packed.items():
        if rows.places is None:
            total[name] += rows.values
        else:
            total[name][rows.places] += rows.values
