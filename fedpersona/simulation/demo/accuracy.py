"""How well the demo's model finds each person's held-out track, between an honest floor and an honest ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.central import twins_of
from fedpersona.simulation.demo.people import Person
from fedpersona.simulation.evaluation.intervals import bootstrap_interval
from fedpersona.simulation.evaluation.ranking import full_ranks, ndcg_at
from fedpersona.simulation.population import Population
from fedpersona.simulation.scoring import RawScores, Serving, serve
from fedpersona.taste import TasteModel

__all__ = ["Accuracy", "accuracy"]

_TOP = 10


@dataclass(frozen=True)
class Accuracy:
    """NDCG@10 by full ranking: one held-out track a person, among all that the person has not played."""

    people: int
    model: float
    interval: tuple[float, float]
    """95 % bootstrap interval of the model's."""
    floor: float
    """Of popularity among the same people."""
    ceiling: float
    """Of the same model, fitted by someone who sees all their histories in one place."""
    found: int
    """People whose held-out track is among the model's first ten."""


def accuracy(
    people: Sequence[Person], ranks: Sequence[int], catalogue: Catalogue, model: TasteModel, *, seed: int
) -> Accuracy:
    """Measure the federation's model against floor and ceiling.

    Args:
        people: those who took part.
        ranks: of each one's held-out track under the federation's model, 0 for the best, as their devices told.
        catalogue: what was ranked.
        model: with its settings.
        seed: of the interval, and of the ceiling's start.
    """
    everyone = np.arange(len(people))
    population = Population.from_pairs(
        "demo",
        catalogue,
        np.repeat(everyone, [len(person.rows) for person in people]),
        np.concatenate([person.rows for person in people]),
        person_ids=everyone,
    )
    targets = np.array([person.held_out for person in people])
    listeners = np.bincount(population.items, minlength=len(catalogue)).astype(np.float64)
    twin = twins_of(model, population, seed)[0].fit()
    central = serve(twin, RawScores(population), Serving(model.recency, model.discount))(everyone)
    mine = ndcg_at(np.asarray(ranks), _TOP)

    def of(scores: NDArray[np.floating]) -> float:
        return float(ndcg_at(full_ranks(scores, targets, (population.indptr, population.items)), _TOP).mean())

    return Accuracy(
        people=len(people),
        model=float(mine.mean()),
        interval=bootstrap_interval(mine, seed),
        floor=of(np.tile(listeners, (len(people), 1))),
        ceiling=of(central),
        found=int(np.count_nonzero(np.asarray(ranks) < _TOP)),
    )
