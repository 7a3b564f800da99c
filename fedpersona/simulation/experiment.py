"""One run, from data to figures: train by rounds, choose on validation items, measure on test items, compare."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedpersona.aggregation import Coordinator, RoundReport
from fedpersona.errors import ConfigError
from fedpersona.simulation import datasets
from fedpersona.simulation.central import twins_of
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.engine import make_engine
from fedpersona.simulation.environment import git_revision, versions
from fedpersona.simulation.evaluation import Evaluation, evaluate, people_sample, quick_ndcg
from fedpersona.simulation.narration import Narrator, Silence
from fedpersona.simulation.population import Population, Split
from fedpersona.simulation.record import DataFacts, Result, RoundFigures, RunConfig, RunRecord, ServingChoice
from fedpersona.simulation.scoring import RawScores, Scorer, Serving, serve
from fedpersona.simulation.statistics import comparison_rows, describe
from fedpersona.simulation.tuning import choose_serving
from fedpersona.taste import Popularity, Shared, TasteModel, create

__all__ = ["Run", "load_split", "simulate"]

_CURVE_POINTS = 24
"""Most rounds whose accuracy is measured for the curve: the rest are passed over evenly."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its record, and what the record has no room for."""

    record: RunRecord
    model: TasteModel
    """The model with all settings, chosen serving included."""
    shared: Shared
    split: Split
    evaluation: Evaluation
    """The federated model on test items, person by person."""


@dataclass
class _Stopwatch:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def load_split(config: RunConfig) -> Split:
    """Read, or invent, the data of a run.

    Raises:
        InputError: it is not there, or not what it should be.
    """
    return datasets.load(
        config.dataset,
        data=None if config.data is None else Path(config.data),
        seed=config.seed,
        people=config.people,
        items=config.items,
    )


def simulate(config: RunConfig, narrator: Narrator | None = None, split: Split | None = None) -> Run:
    """Run an experiment.

    Args:
        config: all that decides its numbers.
        narrator: hears about it as it goes.
        split: the data, where it has been loaded already; by default ``load_split(config)``.

    Raises:
        InputError: the dataset, the model or a setting is not what it should be.
        RoundFailed: too few devices answered a round.
    """
    return _Experiment(config, narrator or Silence(), split).run()


class _Experiment:
    """The stages of one run, over one split, for one group of people that every figure is taken over."""

    def __init__(self, config: RunConfig, narrator: Narrator, split: Split | None) -> None:
        self.config = config
        self.narrator = narrator
        self.clock = _Stopwatch()
        self.model = create(config.model, config.settings)  # before any data is read: a wrong name shows at once
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        with self.clock.measure("reading"):
            self.split = split or load_split(config)
            self.raw = RawScores(self.split.train)
            self.people = people_sample(self.split, config.evaluate_people, config.seed)

    def run(self) -> Run:
        """Go through all stages."""
        config, split = self.config, self.split
        coordinator, reports, snapshots = self._train()
        form = cohort_form(self.model)
        scorer = form.scorer(coordinator.shared)
        self.narrator.stage("choosing recency and discount on validation items")
        with self.clock.measure("choosing"):
            choice, tried = choose_serving(
                split, scorer, self.raw, recency=self._recency(), discount=config.discount, people=self.people
            )
        with self.clock.measure("measuring"):
            self.narrator.stage("measuring on test items")
            rounds = self._curve(reports, {n: form.scorer(shared) for n, shared in snapshots.items()}, choice)
            evaluation = self._evaluate(scorer, choice, "test")
            federated = self._result(
                config.model,
                "federated",
                scorer,
                choice,
                evaluation,
                seconds=sum(r.seconds_collecting + r.seconds_applying for r in reports),
                rounds=len(reports),
                bytes_up=sum(r.bytes_up for r in reports),
                bytes_down=sum(r.bytes_down for r in reports),
            )
            floor = self._floor()
        results = [floor, federated, *(self._ceilings() if config.ceiling else ())]
        model = self.model.model_copy(update={"recency": choice.recency, "discount": choice.discount})
        record = RunRecord(
            config=config,
            settings=model.model_dump(),
            versions=versions(),
            git_revision=git_revision(),
            started=self.started,
            data=data_facts(split.train),
            rounds=rounds,
            tuning=tried,
            results=results,
            model_hash=coordinator.shared.hash(),
            seconds={stage: round(seconds, 3) for stage, seconds in self.clock.seconds.items()},
        )
        return Run(record, model, coordinator.shared, split, evaluation)

    def _recency(self) -> Literal["auto", "off"] | float:
        recency = self.config.recency
        if isinstance(recency, float | int) and not self.split.train.timed:
            raise ConfigError(f"{self.split.name} carries no times, so a recency of {recency:g} items has no meaning")
        return recency

    def _train(self) -> tuple[Coordinator, list[RoundReport], dict[int, Shared]]:
        config, people = self.config, len(self.split.train)
        if config.cohort is not None and config.cohort > people:
            raise ConfigError(f"a cohort of {config.cohort:,} is more than the {people:,} people of {self.split.name}")
        cohort = config.cohort or people
        if config.min_count > cohort:
            raise ConfigError(f"min_count of {config.min_count:,} is more than a cohort of {cohort:,} can give")
        engine = make_engine(
            config.engine,
            self.model,
            self.split.train,
            config.behaviour,
            workers=config.workers,
            progress=self.narrator.progress,
        )
        coordinator = Coordinator(
            self.model,
            self.split.catalogue,
            engine,
            cohort=cohort,
            min_count=config.min_count,
            seed=config.seed,
            ring_bits=config.ring_bits,
        )
        planned = self.model.planned_rounds(self.split.catalogue)
        every = max(1, -(-planned // _CURVE_POINTS))
        reports: list[RoundReport] = []
        snapshots: dict[int, Shared] = {}
        with self.clock.measure("training"):
            for number in range(1, planned + 1):
                self.narrator.stage(f"round {number} of {planned}: {config.model} on {cohort:,} devices")
                reports.append(coordinator.run_round())
                if number % every == 0 or number == planned:
                    snapshots[number] = coordinator.shared
        return coordinator, reports, snapshots

    def _curve(
        self, reports: list[RoundReport], scorers: dict[int, Scorer], choice: ServingChoice
    ) -> list[RoundFigures]:
        figures = []
        for report in reports:
            val = test = None
            if report.round_number in scorers:
                serving = Serving(choice.recency, choice.discount)
                scores = serve(scorers[report.round_number], self.raw, serving)
                val = quick_ndcg(self.split, scores, on="val", people=self.people)
                test = quick_ndcg(self.split, scores, on="test", people=self.people)
            figures.append(RoundFigures(**vars(report), val_ndcg=val, test_ndcg=test))
        return figures

    def _evaluate(self, scorer: Scorer, choice: ServingChoice, on: Literal["val", "test"]) -> Evaluation:
        scores = serve(scorer, self.raw, Serving(choice.recency, choice.discount))
        return evaluate(self.split, scores, on=on, people=self.people, seed=self.config.seed, details=on == "test")

    def _result(
        self,
        name: str,
        role: Literal["floor", "federated", "ceiling"],
        scorer: Scorer,
        choice: ServingChoice,
        evaluation: Evaluation,
        **cost: Any,
    ) -> Result:
        return Result(
            name=name,
            role=role,
            serving=choice,
            val=self._evaluate(scorer, choice, "val").metrics,
            test=evaluation.metrics,
            intervals=evaluation.intervals,
            sampled=evaluation.sampled,
            discovery=evaluation.discovery,
            tertiles=evaluation.tertiles,
            **cost,
        )

    def _floor(self) -> Result:
        """Popularity as one round of it over the same people would give."""
        started = time.perf_counter()
        counts = self.split.train.item_counts.astype(np.float32)
        shared = Popularity().init(self.split.catalogue, 0).next(listeners=counts)
        scorer = cohort_form(Popularity()).scorer(shared)
        seconds = time.perf_counter() - started
        choice, _ = choose_serving(self.split, scorer, self.raw, recency="off", discount=0.0, people=self.people)
        evaluation = self._evaluate(scorer, choice, "test")
        return self._result("popularity", "floor", scorer, choice, evaluation, seconds=seconds)

    def _ceilings(self) -> Iterator[Result]:
        for twin in twins_of(self.model, self.split.train, self.config.seed):
            self.narrator.stage(f"fitting {twin.name}, to compare with")
            with self.clock.measure("ceilings"):
                started = time.perf_counter()
                scorer = twin.fit()
                seconds = time.perf_counter() - started
                choice, _ = choose_serving(
                    self.split,
                    scorer,
                    self.raw,
                    recency=self._recency(),
                    discount=self.config.discount,
                    people=self.people,
                )
                evaluation = self._evaluate(scorer, choice, "test")
                yield self._result(twin.name, "ceiling", scorer, choice, evaluation, seconds=seconds)


def data_facts(population: Population) -> DataFacts:
    """Return a population's facts; for an invented one, with its statistics next to lastfm-2k's."""
    return DataFacts(
        name=population.name,
        hash=population.data_hash,
        kind=population.catalogue.kind,
        people=len(population),
        items=len(population.catalogue),
        interactions=population.interactions,
        timed=population.timed,
        statistics=comparison_rows(describe(population)) if population.name == "synthetic" else [],
    )
