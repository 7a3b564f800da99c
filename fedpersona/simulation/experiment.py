"""One run, from data to figures: train by rounds, choose on validation items, measure on test items, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.errors import ConfigError
from fedpersona.simulation import datasets
from fedpersona.simulation.callbacks import Callback, Callbacks
from fedpersona.simulation.central import twins_of
from fedpersona.simulation.cohort import cohort_form
from fedpersona.simulation.engines import make_scorer
from fedpersona.simulation.environment import compiled_kernel, git_revision, versions
from fedpersona.simulation.evaluation import Evaluation, people_sample
from fedpersona.simulation.keeping import Facts, Keeping
from fedpersona.simulation.measurement import Measured, Measurement
from fedpersona.simulation.narration import Narrator, Silence
from fedpersona.simulation.population import Split
from fedpersona.simulation.private_run import measure_privacy, note_delta, protected_model, without_noise
from fedpersona.simulation.record import DataFacts, RunConfig, RunRecord
from fedpersona.simulation.scoring import PersonalScorer, Scorer, Serving
from fedpersona.simulation.statistics import comparison_rows, describe
from fedpersona.simulation.training import Following, Training, cohort_of, train
from fedpersona.taste import FactorModel, GradientModel, Popularity, Shared, TasteModel, create
from fedpersona.taste.neural import TorchTaste

__all__ = ["Run", "load_split", "simulate"]


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


def simulate(
    config: RunConfig,
    narrator: Narrator | None = None,
    split: Split | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    keeping: Keeping | None = None,
) -> Run:
    """Run an experiment. With an epsilon it is not repeatable to the bit: noise is never drawn from a seed.

    One BLAS thread does all of it, next to the engine's own workers: a figure must not depend on how many cores
    the machine happens to have free.

    Args:
        config: all that decides its numbers.
        narrator: hears about it as it goes.
        split: the data, where it has been loaded already; by default ``load_split(config)``.
        callbacks: follow the run (:mod:`fedpersona.simulation.callbacks`).
        keeping: leaves checkpoints in a folder, and goes on from one; by default nothing is written.

    Raises:
        InputError: the dataset, the model or a setting is not what it should be.
        RoundFailed: too few devices answered a round.
        Interrupted: somebody asked to stop, and a checkpoint was left; only with ``keeping``.
    """
    narrator = narrator or Silence()
    told = Callbacks(callbacks, narrator)
    try:
        with threadpool_limits(1):
            run = _simulate(config, narrator, split, told, keeping)
    except BaseException:
        if keeping is not None:
            keeping.release()
        told.interrupt()
        raise
    told.end(run.record)
    return run


def _simulate(
    config: RunConfig, narrator: Narrator, split: Split | None, callbacks: Callbacks, keeping: Keeping | None
) -> Run:
    clock = _Stopwatch()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    exact = create_model(config)  # before any data is read: a wrong name shows at once
    if split is None:
        narrator.stage(f"reading {config.dataset}")
        with clock.measure("reading"):
            split = load_split(config)
    if keeping is not None:
        facts = Facts(
            config,
            split.question,
            split.train.data_hash,
            versions(),
            started,
            exact,
            split.catalogue,
            code_hash=getattr(exact, "code_hash", None),
            kernel=compiled_kernel() if isinstance(exact, FactorModel) else None,
        )
        started = keeping.begin(facts, narrator).started
        clock.seconds["training"] = keeping.trained_before
    serving = _serving(config, split)
    measurement = Measurement(split, people_sample(split, config.evaluate_people, config.seed), config.seed)
    model, protection = exact, None
    if config.epsilon is not None:
        note_delta(config.delta, cohort_of(config, len(split.train)), narrator)
        model, protection = protected_model(config, exact, split, config.epsilon)
    following = Following(callbacks, keeping, _on_the_way(model, measurement, config), config.evaluate_every)
    callbacks.start(config, keeping.done if keeping else 0)
    with clock.measure("training"):
        training = train(model, split.train, config, narrator, protection, measurement.people, following)
    narrator.stage("measuring on test items" if protection else "choosing on validation items, measuring on test items")
    with clock.measure("measuring"):
        scorers = {
            number: make_scorer(model, shared, split.train, measurement.people, training.kept.get(number))
            for number, shared in training.models.items()
        }
        federated = _federated(config, training, scorers[len(training.reports)], measurement, serving)
        rounds = measurement.curve(training.reports, scorers, federated.result.serving, training.measured)
        floors = [_floor(split, measurement)]
    privacy = None
    if protection is not None:
        with clock.measure("privacy"):
            private = measure_privacy(
                config, exact, model, protection, training.plans, federated, measurement, narrator
            )
        privacy = private.record
        floors += private.floors
    with clock.measure("ceilings"):
        ceilings = list(_ceilings(config, exact, measurement, serving, narrator)) if config.ceiling else []
    choice = federated.result.serving
    model = model.model_copy(update={"recency": choice.recency, "discount": choice.discount})
    record = RunRecord(
        config=config,
        settings=model.model_dump(),
        versions=versions(),
        git_revision=git_revision(),
        started=started,
        data=data_facts(split),
        rounds=rounds,
        tuning=federated.tried,
        results=[measured.result for measured in (*floors, federated, *ceilings)],
        model_hash=training.shared.hash(),
        seconds={stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        privacy=privacy,
        collected=training.collected,
        resumed=keeping.resumed if keeping else [],
    )
    return Run(record, model, training.shared, split, federated.evaluation)


def create_model(config: RunConfig) -> TasteModel:
    """Make the model of a run.

    Raises:
        ConfigError: a setting is out of range, or one of those that a run chooses for itself; or devices that mask
            cannot train the model.
    """
    for name in ("recency", "discount"):
        if name in config.settings:
            raise ConfigError(f"give {name} to the run (--{name}), not to the model: a run chooses or fixes it")
    if "noise" in config.settings:
        raise ConfigError("give an epsilon to the run (--epsilon), not noise to the model: the noise follows from it")
    if config.model.startswith("torch:"):
        from fedpersona.simulation.neural.loading import brought  # runs the file that the model's module is in

        model: TasteModel = brought(config.model, config.settings)
    else:
        model = create(config.model, config.settings)
    if isinstance(model, TorchTaste):
        _ = model.blueprint  # says so where torch is not there
    if config.secure and isinstance(model, GradientModel):
        raise ConfigError(
            f"--secure changes no bit of a model, and of {config.model_shown} it would: devices that mask keep no "
            "private part from round to round, and reckon in other precision than the engines do. Leave --secure out"
        )
    return model


@dataclass
class _Stopwatch:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def _serving(config: RunConfig, split: Split) -> dict[str, Any]:
    """Return what a run lets the devices choose, or fixes for them."""
    recency: Literal["auto", "off"] | float = config.recency
    if isinstance(recency, float | int) and not split.train.timed:
        raise ConfigError(f"{split.name} carries no times, so a recency of {recency:g} items has no meaning")
    return {"recency": recency, "discount": config.discount}


def _on_the_way(
    model: TasteModel, measurement: Measurement, config: RunConfig
) -> Callable[[Shared, NDArray[np.float32] | None], float]:
    """Return what measures a model while it is trained, with the serving that is fixed beforehand, or none."""
    recency = None if isinstance(config.recency, str) else config.recency
    discount = 0.0 if isinstance(config.discount, str) else config.discount

    def measure(shared: Shared, kept: NDArray[np.float32] | None) -> float:
        scorer = make_scorer(model, shared, measurement.split.train, measurement.people, kept)
        return measurement.on_the_way(scorer, Serving(recency, discount))

    return measure


def _federated(
    config: RunConfig,
    training: Training,
    scorer: Scorer | PersonalScorer,
    measurement: Measurement,
    serving: dict[str, Any],
) -> Measured:
    return measurement.measure(
        config.model_shown,
        "federated",
        scorer,
        **serving,
        rounds=len(training.reports),
        bytes_up=sum(report.bytes_up for report in training.reports),
        bytes_down=sum(report.bytes_down for report in training.reports) + training.shared.nbytes,
        seconds=training.seconds,
    )


def _floor(split: Split, measurement: Measurement) -> Measured:
    """Popularity as one round of it over the same people would give."""
    started = time.perf_counter()
    counts = split.train.item_counts.astype(np.float32)
    shared = Popularity().init(split.catalogue, 0).next(listeners=counts)
    scorer = cohort_form(Popularity()).scorer(shared)
    seconds = time.perf_counter() - started
    return measurement.measure("popularity", "floor", scorer, recency="off", discount=0.0, seconds=seconds)


def _ceilings(
    config: RunConfig, model: TasteModel, measurement: Measurement, serving: dict[str, Any], narrator: Narrator
) -> Iterator[Measured]:
    """Fit what to compare with: under noise the same model without, and central models, all on each person once."""
    if config.epsilon is not None:
        narrator.stage(f"training {model.name} without noise, to compare with")
        yield without_noise(config, model, measurement)
    for twin in twins_of(model, measurement.split.train, config.seed):
        narrator.stage(f"fitting {twin.name}, to compare with")
        started = time.perf_counter()
        scorer = twin.fit()
        seconds = time.perf_counter() - started
        yield measurement.measure(twin.name, "ceiling", scorer, **serving, seconds=seconds)


def data_facts(split: Split) -> DataFacts:
    """Return what was learned from; for invented people, with statistics next to lastfm-2k's."""
    population = split.train
    return DataFacts(
        question=split.question,
        name=population.name,
        hash=population.data_hash,
        kind=population.catalogue.kind,
        people=len(population),
        items=len(population.catalogue),
        interactions=population.interactions,
        timed=population.timed,
        statistics=comparison_rows(describe(population)) if population.name == "synthetic" else [],
    )
