"""The rounds of a run: the coordinator over an engine, with the models on the way kept for the curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.aggregation import Coordinator, RoundReport
from fedpersona.aggregation.coordinator import Collector
from fedpersona.errors import ConfigError
from fedpersona.privacy.protection import Protection
from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.record import RunConfig
from fedpersona.simulation.replication import EachForMany
from fedpersona.simulation.secure_engine import MOST_DEVICES, SecureEngine
from fedpersona.taste import GradientModel, Shared, TasteModel
from fedpersona.wire.plan import Plan

__all__ = ["Training", "cohort_of", "least_devices", "train"]

_CURVE_POINTS = 24
"""Most rounds whose model is kept: the rest are passed over evenly."""
_SURE_SHARE = 0.9
"""Of the devices that should answer, those that distributed noise counts on by default: one more costs accuracy, one
less the round."""
_MOST_COPIED = 300_000_000
"""Interactions up to which people are copied, where they cannot be multiplied."""


@dataclass(frozen=True, eq=False)
class Training:
    """What the rounds gave."""

    reports: list[RoundReport]
    models: dict[int, Shared]
    """Shared models by round; the last round's is always there."""
    plans: list[Plan]
    """What was asked in each round, with the noise that it promised."""
    kept: dict[int, NDArray[np.float32]]
    """What the devices of the watched people keep, a row each, by round; empty where the model remembers nothing."""

    @property
    def shared(self) -> Shared:
        """The model in the end."""
        return self.models[self.reports[-1].round_number]

    @property
    def seconds(self) -> float:
        """Time in rounds."""
        return sum(report.seconds_collecting + report.seconds_applying for report in self.reports)


def cohort_of(config: RunConfig, people: int) -> int:
    """Return how many devices a round asks at most.

    Raises:
        ConfigError: they are more than there are.
    """
    devices = people * config.replicate
    if config.cohort is not None and config.cohort > devices:
        raise ConfigError(f"a cohort of {config.cohort:,} is more than the {devices:,} devices there are")
    return config.cohort or devices


def train(
    model: TasteModel,
    population: Population,
    config: RunConfig,
    narrator: Narrator,
    protection: Protection | None = None,
    watched: NDArray[np.int64] | None = None,
) -> Training:
    """Run all rounds that the model plans.

    Args:
        model: the taste model.
        population: the people.
        config: of the run.
        narrator: hears about it.
        protection: what differential privacy is promised.
        watched: positions of those whose private parts are kept beside the models, for figures; by default everyone.

    Raises:
        ConfigError: the cohort or the minimum does not fit the population.
        CohortTooSmall: too few devices answered a round.
        DevicesLeft: under secure aggregation, so many dropped out that a sum could not be opened.
    """
    cohort = cohort_of(config, len(population))
    min_count = config.min_count
    if min_count is None:
        staying = 1.0 if protection is None or protection.noise == "central" else 1.0 - config.behaviour.dropout
        min_count = least_devices(int(cohort * staying), protection)
    if min_count > cohort:
        raise ConfigError(
            f"min_count asks for {min_count:,} devices, the cohort has {cohort:,}: lower one or raise the other"
        )
    secure = config.secure and cohort <= MOST_DEVICES
    masks = Parameters(config.neighbours, config.threshold)
    if config.secure:
        narrator.note(_how_secure(cohort, masks, config.behaviour.dropout))
    plans: list[Plan] = []
    privates = None
    if isinstance(model, GradientModel) and model.remembers:
        privates = PrivateTable.begin(model, config.seed, len(population) * config.replicate)
    coordinator = Coordinator(
        model,
        population.catalogue,
        _collector(model, population, config, narrator, cohort, privates, secure=secure),
        cohort=cohort,
        min_count=min_count,
        seed=config.seed,
        ring_bits=config.ring_bits,
        masked=secure,
        masks=masks,
        protection=protection,
        spend=plans.append,
    )
    planned = model.planned_rounds(population.catalogue)
    every = -(-planned // _CURVE_POINTS)
    reports: list[RoundReport] = []
    models: dict[int, Shared] = {}
    kept: dict[int, NDArray[np.float32]] = {}
    people = np.arange(len(population)) if watched is None else watched
    for number in range(1, planned + 1):
        narrator.stage(f"round {number} of {planned}: {model.name} on {cohort:,} devices")
        reports.append(coordinator.run_round())
        if reports[-1].answered < cohort:
            narrator.note(f"round {number}: {reports[-1].answered:,} of {cohort:,} devices answered")
        if number % every == 0 or number == planned:
            models[number] = coordinator.shared
            if privates is not None:
                kept[number] = privates.take(people)
    return Training(reports, models, plans, kept)


def least_devices(expected: int, protection: Protection | None) -> int:
    """Return the fewest devices whose sum is released, where nobody says; their shares make distributed noise whole."""
    if protection is not None and protection.noise == "distributed":
        return max(2, int(expected * _SURE_SHARE))
    return max(2, expected // 10)


def _collector(
    model: TasteModel,
    population: Population,
    config: RunConfig,
    narrator: Narrator,
    cohort: int,
    privates: PrivateTable | None,
    *,
    secure: bool,
) -> Collector:
    """Return what brings in the sums: over the people, multiplied where all answer alike, else over copies of them."""
    people, devices = len(population), len(population) * config.replicate
    all_answer = cohort == devices and config.behaviour == Behaviour()
    multiplied = config.replicate > 1 and all_answer and config.engine == "cohort" and not secure
    multiplied = multiplied and not isinstance(model, GradientModel)  # copies of a person train on other samples
    if config.replicate > 1 and not multiplied:
        if population.interactions * config.replicate > _MOST_COPIED:
            raise ConfigError(
                f"{config.replicate:,} copies of everyone do not fit into memory: let all devices answer, with the "
                "engine 'cohort' and without --secure, and nobody is copied"
            )
        population = population.repeated(config.replicate)
    if secure:
        return SecureEngine(model, population, config.behaviour, narrator.progress)
    engine = make_engine(
        config.engine,
        model,
        population,
        config.behaviour,
        workers=config.workers,
        progress=narrator.progress,
        privates=privates,
    )
    if not multiplied:
        return engine
    return EachForMany(engine, model, population.catalogue, people=people, devices=devices)


def _how_secure(cohort: int, masks: Parameters, dropout: float) -> str:
    """Say what secure aggregation comes to in this run.

    Raises:
        ConfigError: so many drop out that it would open no sum of so large a cohort.
    """
    beside = "; keys and shares, up to some 10 kB a device and round, are not in the upload"
    if cohort <= MOST_DEVICES:
        return f"{cohort:,} devices run secure aggregation: every update is masked, and only sums are opened{beside}"
    if chances(cohort, masks, colluding=0.0, leaving=dropout).failed > -1:
        raise ConfigError(
            f"with a drop-out of {dropout:g} secure aggregation opens hardly any sum of {cohort:,} devices: "
            f"{masks.threshold} of {masks.neighbours} neighbours have to stay. Lower --dropout or --threshold"
        )
    return (
        f"rounds of {cohort:,} devices are more than the {MOST_DEVICES:,} for which every device runs the protocol: "
        f"sums are taken directly, the same to the bit as those that it opens{beside}"
    )
