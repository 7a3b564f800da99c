"""The rounds of a run: the coordinator over an engine, with the models on the way kept for the curve."""

from __future__ import annotations

from dataclasses import dataclass

from fedpersona.aggregation import Coordinator, RoundReport
from fedpersona.errors import ConfigError
from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.simulation.engine import make_engine
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.population import Population
from fedpersona.simulation.record import RunConfig
from fedpersona.simulation.secure_engine import MOST_DEVICES, SecureEngine
from fedpersona.taste import Shared, TasteModel

__all__ = ["Training", "train"]

_CURVE_POINTS = 24
"""Most rounds whose model is kept: the rest are passed over evenly."""


@dataclass(frozen=True, eq=False)
class Training:
    """What the rounds gave."""

    reports: list[RoundReport]
    models: dict[int, Shared]
    """Shared models by round; the last round's is always there."""

    @property
    def shared(self) -> Shared:
        """The model in the end."""
        return self.models[self.reports[-1].round_number]

    @property
    def seconds(self) -> float:
        """Time in rounds."""
        return sum(report.seconds_collecting + report.seconds_applying for report in self.reports)


def train(model: TasteModel, population: Population, config: RunConfig, narrator: Narrator) -> Training:
    """Run all rounds that the model plans.

    Raises:
        ConfigError: the cohort or the minimum does not fit the population.
        CohortTooSmall: too few devices answered a round.
        DevicesLeft: under secure aggregation, so many dropped out that a sum could not be opened.
    """
    people = len(population)
    if config.cohort is not None and config.cohort > people:
        raise ConfigError(f"a cohort of {config.cohort:,} is more than the {people:,} people of {population.name}")
    cohort = config.cohort or people
    min_count = max(2, cohort // 10) if config.min_count is None else config.min_count
    if min_count > cohort:
        raise ConfigError(
            f"min_count asks for {min_count:,} devices, the cohort has {cohort:,}: lower one or raise the other"
        )
    secure = config.secure and cohort <= MOST_DEVICES
    masks = Parameters(config.neighbours, config.threshold)
    if config.secure:
        narrator.note(_how_secure(cohort, masks, config.behaviour.dropout))
    coordinator = Coordinator(
        model,
        population.catalogue,
        SecureEngine(model, population, config.behaviour, narrator.progress)
        if secure
        else make_engine(
            config.engine,
            model,
            population,
            config.behaviour,
            workers=config.workers,
            progress=narrator.progress,
        ),
        cohort=cohort,
        min_count=min_count,
        seed=config.seed,
        ring_bits=config.ring_bits,
        masked=secure,
        masks=masks,
    )
    planned = model.planned_rounds(population.catalogue)
    every = -(-planned // _CURVE_POINTS)
    reports: list[RoundReport] = []
    models: dict[int, Shared] = {}
    for number in range(1, planned + 1):
        narrator.stage(f"round {number} of {planned}: {model.name} on {cohort:,} devices")
        reports.append(coordinator.run_round())
        if reports[-1].answered < cohort:
            narrator.note(f"round {number}: {reports[-1].answered:,} of {cohort:,} devices answered")
        if number % every == 0 or number == planned:
            models[number] = coordinator.shared
    return Training(reports, models)


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
