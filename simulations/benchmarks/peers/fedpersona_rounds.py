"""fedpersona on a workload: whole rounds of the coordinator over the engine for factor models."""

from __future__ import annotations

import time

import numpy as np
from peers.child import Task, begin, finish
from peers.workload import BATCH, DIM, LR, NEGATIVES, SERVER_LR, Workload, first_vectors

from fedpersona.aggregation import Coordinator
from fedpersona.catalogue import Catalogue
from fedpersona.randomness import keys
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.factor_engine import FactorEngine
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import Shared
from fedpersona.taste.gradient.descent import descend
from fedpersona.taste.gradient.fedmf import FedMF

LONGEST = 256.0
"""Longest update of a device, above any that comes: see :func:`longest_seen`."""
_LOOKED_AT = 400


def model_of(task: Task) -> FedMF:
    return FedMF(
        dim=DIM,
        negatives=NEGATIVES,
        batch=BATCH,
        loss="bce",
        prox=0.0,
        lr=LR,
        server="sgd",
        server_lr=SERVER_LR,
        epochs=task.epochs,
        rounds=task.rounds,
        longest=LONGEST,
    )


def population_of(workload: Workload) -> Population:
    return Population(
        name=workload.name,
        catalogue=Catalogue.create(str(row) for row in range(workload.items)),
        indptr=workload.indptr,
        items=workload.indices,
        weights=np.broadcast_to(np.float32(1.0), workload.indices.shape),  # one number, not one a play
        times=None,
        person_ids=np.arange(workload.people),
    )


def federation(task: Task, workload: Workload, population: Population) -> tuple[Coordinator, PrivateTable]:
    """Return the coordinator before its first round, and the table of private vectors."""
    items, people = first_vectors(workload)
    model = model_of(task)
    privates = PrivateTable(people)
    engine = FactorEngine(model, population, Behaviour(), privates=privates, workers=task.threads)
    shared = Shared(model.name, population.catalogue.version, 0, {"items": items})
    coordinator = Coordinator(
        model, population.catalogue, engine, cohort=workload.cohort, min_count=2, seed=task.seed, shared=shared
    )
    return coordinator, privates


def longest_seen(task: Task, workload: Workload, coordinator: Coordinator, privates: PrivateTable) -> float:
    """Return the longest of the updates that the next round would bring, of many people or all."""
    people = np.unique(np.linspace(0, workload.people - 1, min(_LOOKED_AT, workload.people)).astype(np.int64))
    lengths = [
        np.linalg.norm(
            descend(
                coordinator.shared["items"],
                workload.history(person),
                privates.rows[person],
                0.0,
                key,
                model_of(task).recipe,
            ).change
        )
        for person, key in zip(people.tolist(), keys(task.seed, "longest update", people), strict=True)
    ]
    return float(max(lengths))


def run(task: Task, workload: Workload) -> None:
    coordinator, privates = federation(task, workload, population_of(workload))
    longest = longest_seen(task, workload, coordinator, privates) if task.keep else 0.0
    seconds: list[float] = []
    while len(seconds) < task.rounds or sum(seconds) < task.least_seconds:
        started = time.perf_counter()
        coordinator.run_round()
        seconds.append(time.perf_counter() - started)
    if task.keep:
        longest = max(longest, longest_seen(task, workload, coordinator, privates))
    finish(
        task,
        seconds,
        ("fedpersona", "numpy"),
        items=coordinator.shared["items"],
        people=privates.rows,
        longest=longest,
        allowed=LONGEST,
    )


if __name__ == "__main__":
    run(*begin())
