"""The engines of a simulation by name, and what scores people with the model that one of them trained."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, UnknownName
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.engine import CohortEngine, DeviceEngine, Engine, Progress
from fedpersona.simulation.factor_engine import FactorEngine, FactorScorer
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.scoring import PersonalScorer, Scorer
from fedpersona.taste.gradient import FactorModel
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.taste.neural import TorchTaste

__all__ = ["EngineName", "make_engine", "make_scorer"]

EngineName = Literal["cohort", "device", "ray"]


def make_engine(
    name: str,
    model: TasteModel,
    population: Population,
    behaviour: Behaviour,
    *,
    workers: int,
    progress: Progress,
    privates: PrivateTable | None = None,
    first: int = 0,
    cluster: str | None = None,
    shards: int | None = None,
) -> Engine:
    """Make an engine by name: ``cohort`` is the fastest that there is for the model, ``ray`` runs it on a cluster.

    Args:
        name: of the engine.
        model: the taste model.
        population: the people.
        behaviour: who can be reached, and who leaves.
        workers: threads of this process, or tasks at once of a local cluster.
        progress: hears how many devices are done.
        privates: what each person keeps, where the model remembers.
        first: number of the first person, where these are a shard of more.
        cluster: for ``ray``: the address of a running cluster; by default one is started here.
        shards: for ``ray``: into how many the people are cut; it changes no bit, but for rounding in modules of torch.

    Raises:
        UnknownName: there is no such engine.
        ConfigError: Ray is not installed, no cluster answers, or one is named for another engine.
    """
    if name == "ray":
        from fedpersona.simulation.cluster import RayEngine  # needed for this engine alone

        return RayEngine(
            model, population, behaviour, progress, privates=privates, workers=workers, address=cluster, shards=shards
        )
    if cluster is not None or shards is not None:
        raise ConfigError(f"a cluster and shards are for the engine 'ray', not for '{name}'")
    if name == "device":
        return DeviceEngine(model, population, behaviour, progress, privates=privates, first=first)
    if name != "cohort":
        raise UnknownName("engine", name, get_args(EngineName))
    if isinstance(model, TorchTaste):
        _ = model.blueprint  # says so where torch is not there
        from fedpersona.simulation.neural.engine import NeuralEngine

        return NeuralEngine(model, population, behaviour, progress, privates=privates, first=first)
    if isinstance(model, FactorModel):
        return FactorEngine(model, population, behaviour, progress, privates=privates, first=first, workers=workers)
    return CohortEngine(model, population, behaviour, progress, workers=workers, first=first)


def make_scorer(
    model: TasteModel,
    shared: Shared,
    population: Population,
    people: NDArray[np.int64],
    kept: NDArray[np.float32] | None,
) -> Scorer | PersonalScorer:
    """Return what scores people by a trained model.

    Args:
        model: its settings.
        shared: what was learned.
        population: the people.
        people: positions of those who are scored, increasing.
        kept: what these people's devices keep, a row each; None where the model remembers nothing.
    """
    if isinstance(model, TorchTaste):
        from fedpersona.simulation.neural.scorer import NeuralScorer

        return NeuralScorer(model, shared, population, people, kept)
    if isinstance(model, FactorModel):
        return FactorScorer(model, shared, population, people, kept)
    return cohort_form(model).scorer(shared)
