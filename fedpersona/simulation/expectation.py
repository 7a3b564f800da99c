"""What accuracy to expect of a promise of privacy, measured on invented people before anyone is asked.

Few people stand for all that a federation has (:mod:`fedpersona.simulation.replication`). How much is left of the way
from popularity to the model without noise tells what the noise took, and at which population little of it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, log
from statistics import fmean
from typing import Any, Literal

from fedpersona.aggregation import Coordinator
from fedpersona.aggregation.protecting import protected
from fedpersona.catalogue import Catalogue
from fedpersona.privacy.protection import Protection
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.datasets import leave_one_out
from fedpersona.simulation.engine import CohortEngine
from fedpersona.simulation.evaluation import chance, people_sample, quick_ndcg
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.population import Population, Split
from fedpersona.simulation.replication import EachForMany
from fedpersona.simulation.scoring import RawScores, Serving, serve
from fedpersona.simulation.synthetic import generate
from fedpersona.simulation.training import least_devices
from fedpersona.taste import Popularity, Shared, TasteModel, create

__all__ = [
    "FEWEST",
    "GOOD",
    "SIMULATED_ITEMS",
    "SIMULATED_PEOPLE",
    "Expected",
    "Promise",
    "expect",
    "good_from",
    "populations",
]

GOOD = 0.9
"""A model is called good from where it keeps so much of the way from the floor to the ceiling."""

SIMULATED_PEOPLE = 1_500
SIMULATED_ITEMS = 1_500
"""Most invented people and items: enough for figures that hold still, few enough for a minute."""
_MEASURED_PEOPLE = 1_000
FEWEST = 50
"""People in the smallest population that is looked at, where fewer are not asked about."""
_STEPS = (0.1, 1.0, 10.0, 100.0)
_MOST_DECADES = 3
"""Multiples of the people that are looked at first, and how many powers of ten more, until one is good or is not."""
_SEEDS = 3
_SECONDS = 45.0
"""After so long no further seed is begun: the figures are then means of fewer."""


@dataclass(frozen=True)
class Promise:
    """What is asked for."""

    users: int
    """People in the federation, all of whom answer every round."""
    model: str
    epsilon: float
    delta: float
    noise: Literal["central", "distributed"] = "central"
    items: int = SIMULATED_ITEMS
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> TasteModel:
        """The model without noise."""
        return create(self.model, dict(self.settings))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Nameless items, as many as asked for."""
        return Catalogue.create([f"item {number}" for number in range(self.items)])

    def kept(self, model: TasteModel, catalogue: Catalogue, users: int) -> tuple[TasteModel, Protection]:
        """Return a model with the noise that keeps the promise to so many people, and the promise as plans state it."""
        return protected(model, catalogue, epsilon=self.epsilon, delta=self.delta, noise=self.noise, people=users)


@dataclass(frozen=True)
class Expected:
    """NDCG@10 that is to be expected of one population, as means over seeds."""

    users: int
    floor: float
    """Popularity without noise; of popularity itself, a list drawn by lot."""
    noisy_popularity: float
    """Popularity under the promise."""
    ndcg: float
    """The model under the promise."""
    ceiling: float
    """The model without noise."""
    kept: float | None
    """How much of the way from the floor to the ceiling is left; None where there is none."""
    kept_between: tuple[float, float] | None
    """The same, of the worst and of the best seed."""
    seeds: int


def populations(users: int) -> list[int]:
    """Return the populations around this one that are looked at first, rising."""
    return sorted({max(round(users * step), min(FEWEST, users)) for step in _STEPS})


def good_from(expected: Sequence[Expected]) -> int | None:
    """Return the population where a model becomes good, in a straight line over the logarithm of the people.

    The first population looked at where that is good already, None where none is.
    """
    before: Expected | None = None
    for now in expected:
        if now.kept is not None and now.kept >= GOOD:
            if before is None or before.kept is None:
                return now.users
            share = (GOOD - before.kept) / (now.kept - before.kept)
            return round(exp(log(before.users) + share * (log(now.users) - log(before.users))))
        before = now
    return None


def expect(promise: Promise, narrator: Narrator) -> list[Expected]:
    """Simulate what accuracy to expect of the people asked about, of fewer and of more."""
    started = time.perf_counter()
    todo = populations(promise.users)
    measured: dict[int, list[_Figures]] = {}
    worlds: list[_World] = []
    for seed in range(_SEEDS):
        if seed and (time.perf_counter() - started) * (seed + 1) / seed > _SECONDS:
            break
        narrator.stage(f"inventing people, {seed + 1} of {_SEEDS}")
        worlds.append(_World(promise, seed))
        narrator.stage(f"simulating {promise.model} with noise, {seed + 1} of {_SEEDS}")
        for done, users in enumerate(todo):
            narrator.progress(done, len(todo))
            measured.setdefault(users, []).append(worlds[-1].figures(users))
    for _ in range(_MOST_DECADES):
        found = [_mean(users, measured[users]) for users in sorted(measured)]
        further = _further(found)
        if further is None or time.perf_counter() - started > _SECONDS:
            break
        narrator.stage(f"simulating {further:,} people")
        for done, world in enumerate(worlds):
            narrator.progress(done, len(worlds))
            measured.setdefault(further, []).append(world.figures(further))
    return [_mean(users, measured[users]) for users in sorted(measured)]


def _further(found: Sequence[Expected]) -> int | None:
    """Return the population to look at next: larger where none is good, smaller where all are, None otherwise."""
    good = good_from(found)
    if good is None:
        return found[-1].users * 10
    if good == found[0].users > FEWEST:
        return max(good // 10, FEWEST)
    return None


@dataclass(frozen=True)
class _Figures:
    floor: float
    popularity: float
    model: float
    ceiling: float

    @property
    def kept(self) -> float | None:
        return None if self.ceiling <= self.floor else (self.model - self.floor) / (self.ceiling - self.floor)


def _mean(users: int, figures: Sequence[_Figures]) -> Expected:
    mean = _Figures(*(fmean(getattr(f, name) for f in figures) for name in ("floor", "popularity", "model", "ceiling")))
    each = [f.kept for f in figures if f.kept is not None]
    return Expected(
        users=users,
        floor=mean.floor,
        noisy_popularity=mean.popularity,
        ndcg=mean.model,
        ceiling=mean.ceiling,
        kept=mean.kept,
        kept_between=(min(each), max(each)) if each else None,
        seeds=len(figures),
    )


class _World:
    """Invented people of one seed, and what is learned from some of them, or from many of each."""

    def __init__(self, promise: Promise, seed: int) -> None:
        self.promise = promise
        self.split: Split = leave_one_out.by_time(
            generate(people=SIMULATED_PEOPLE, items=min(promise.items, SIMULATED_ITEMS), seed=seed)
        )
        self.people = people_sample(self.split, _MEASURED_PEOPLE, seed)
        self.raw = RawScores(self.split.train)
        self._exact: dict[int, tuple[float, float]] = {}

    def figures(self, users: int) -> _Figures:
        """Measure a population of so many: invented people, or each for many; always on the same ones."""
        promise = self.promise
        some = self.split.train.first(min(users, len(self.split.train)))
        if len(some) not in self._exact:
            self._exact[len(some)] = self._floor(some), self._ndcg(promise.exact, some, len(some), None)
        floor, ceiling = self._exact[len(some)]
        model = self._private(promise.exact, some, users)
        popularity = model if self._is_popularity else self._private(Popularity(), some, users)
        return _Figures(floor, popularity, model, ceiling)

    @property
    def _is_popularity(self) -> bool:
        return self.promise.model == Popularity.name

    def _floor(self, some: Population) -> float:
        if self._is_popularity:
            return chance(self.split, on="test", people=self.people)["ndcg@10"]
        return self._ndcg(Popularity(), some, len(some), None)

    def _private(self, exact: TasteModel, some: Population, users: int) -> float:
        model, protection = self.promise.kept(exact, self.split.catalogue, users)
        return self._ndcg(model, some, users, protection)

    def _ndcg(self, model: TasteModel, some: Population, users: int, protection: Protection | None) -> float:
        scorer = cohort_form(model).scorer(_trained(model, some, users, protection))
        return quick_ndcg(self.split, serve(scorer, self.raw, Serving()), on="test", people=self.people)


def _trained(model: TasteModel, some: Population, users: int, protection: Protection | None) -> Shared:
    """Train on some people who stand for so many users."""
    engine = CohortEngine(model, some, Behaviour(), workers=1)
    coordinator = Coordinator(
        model,
        some.catalogue,
        EachForMany(engine, model, some.catalogue, people=len(some), devices=users),
        cohort=users,
        min_count=least_devices(users, protection),
        seed=0,
        protection=protection,
    )
    for _ in coordinator.run():
        pass
    return coordinator.shared
