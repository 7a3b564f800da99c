"""The rounds of a run: the coordinator over an engine, with the models on the way kept for the curve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fedpersona.aggregation import Coordinator, RoundReport
from fedpersona.errors import ConfigError
from fedpersona.privacy.protection import Protection
from fedpersona.privacy.secagg import Parameters
from fedpersona.simulation.callbacks import Callbacks
from fedpersona.simulation.checkpoint import SoFar
from fedpersona.simulation.collecting import collector, how_secure
from fedpersona.simulation.keeping import Keeping
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.record import RunConfig
from fedpersona.simulation.secure_engine import MOST_DEVICES
from fedpersona.taste import GradientModel, Shared, TasteModel
from fedpersona.wire.plan import Plan

__all__ = ["Following", "Training", "cohort_of", "least_devices", "train"]

_CURVE_POINTS = 24
"""Most rounds whose model is kept: the rest are passed over evenly."""
_CURVE_BYTES = 1 << 30
"""Most memory for them: of large models fewer are kept."""
_MOST_IN_MEMORY = 4_000_000
"""Devices up to which what they keep is held in memory: half a gigabyte at 32 dimensions."""
_TOLD_ROUNDS = 24
"""Rounds up to which each is told of in which devices did not answer; of more, all of them together."""
_SURE_SHARE = 0.9
"""Of the devices that should answer, those that distributed noise counts on by default: one more costs accuracy, one
less the round."""


@dataclass(frozen=True, eq=False)
class Training:
    """What the rounds gave."""

    reports: list[RoundReport]
    models: dict[int, Shared]
    """Shared models by round; the last round's is always there."""
    plans: list[Plan]
    """What was asked in each round, with the noise that it promised; empty where none was."""
    kept: dict[int, NDArray[np.float32]]
    """What the devices of the watched people keep, a row each, by round; empty where the model remembers nothing."""
    measured: dict[int, float] = field(default_factory=dict)
    """NDCG@10 on validation items by round, where it was measured on the way."""
    collected: str = ""
    """What brought in the sums, in words."""

    @property
    def shared(self) -> Shared:
        """The model in the end."""
        return self.models[self.reports[-1].round_number]

    @property
    def seconds(self) -> float:
        """Time in rounds."""
        return sum(report.seconds_collecting + report.seconds_applying for report in self.reports)


@dataclass(frozen=True, eq=False)
class Following:
    """What goes along with a training. None of it changes a bit of the model."""

    callbacks: Callbacks = field(default_factory=Callbacks)
    keeping: Keeping | None = None
    """Leaves checkpoints, and holds the one to go on from."""
    measure: Callable[[Shared, NDArray[np.float32] | None], float] | None = None
    """From a model, and what the watched people's devices keep, to NDCG@10 on validation items."""
    every: int | None = None
    """It is measured after every so many rounds; None never."""


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
    following: Following | None = None,
) -> Training:
    """Run all rounds that the model plans, or those that are left of them.

    Args:
        model: the taste model.
        population: the people.
        config: of the run.
        narrator: hears about it.
        protection: what differential privacy is promised.
        watched: positions of those whose private parts are kept beside the models, for figures; by default everyone.
        following: what goes along; by default nothing.

    Raises:
        ConfigError: the cohort or the minimum does not fit the population.
        CohortTooSmall: too few devices answered a round.
        DevicesLeft: under secure aggregation, so many dropped out that a sum could not be opened.
        Interrupted: somebody asked to stop, and a checkpoint was left.
    """
    following = following or Following()
    cohort = cohort_of(config, len(population))
    min_count = _min_count(config, cohort, protection)
    secure = config.secure and cohort <= MOST_DEVICES
    masks = Parameters(config.neighbours, config.threshold)
    if config.secure:
        narrator.note(how_secure(cohort, masks, config.behaviour.dropout))
    checkpoint = following.keeping.checkpoint if following.keeping else None
    so_far = checkpoint.so_far if checkpoint else SoFar()
    privates = None
    if isinstance(model, GradientModel) and model.remembers:
        devices = len(population) * config.replicate
        mapped = isinstance(population.items, np.memmap) or devices > _MOST_IN_MEMORY
        begin = PrivateTable.begin_in_a_file if mapped else PrivateTable.begin
        privates = begin(model, config.seed, devices)
        if checkpoint and checkpoint.private:
            privates.restore(checkpoint.private)
    plans: list[Plan] = []
    collecting = collector(model, population, config, narrator, cohort, privates, secure=secure)
    coordinator = Coordinator(
        model,
        population.catalogue,
        collecting,
        cohort=cohort,
        min_count=min_count,
        seed=config.seed,
        ring_bits=config.ring_bits,
        masked=secure,
        masks=masks,
        protection=protection,
        spend=plans.append if protection is not None else lambda plan: None,
        shared=so_far.shared,
    )
    people = np.arange(len(population)) if watched is None else watched
    rounds = _Rounds(coordinator, so_far, privates, people, narrator, following)
    with contextlib.nullcontext() if following.keeping is None else following.keeping.listening():
        rounds.run(model.planned_rounds(population.catalogue))
    return Training(so_far.reports, so_far.models, plans, so_far.kept, so_far.measured, collecting.description)


@dataclass(eq=False)
class _Rounds:
    """Runs the rounds that are left. A round can take a millisecond: what is done between two must cost far less."""

    coordinator: Coordinator
    so_far: SoFar
    privates: PrivateTable | None
    watched: NDArray[np.int64]
    narrator: Narrator
    following: Following
    short: int = 0
    """Rounds in which devices did not answer, and how many these were together."""
    absent: int = 0

    def run(self, planned: int) -> None:
        cohort, reports = self.coordinator.cohort, self.so_far.reports
        text = f"{self.coordinator.model.name} on {cohort:,} devices"
        self.narrator.rounds(text, len(reports), planned, 0)
        for number in range(len(reports) + 1, planned + 1):
            report = self.coordinator.run_round()
            self.so_far.shared = self.coordinator.shared
            reports.append(report)
            self._keep(number, planned)
            figure = self._measure(number)
            self.narrator.rounds(text, number, planned, report.answered, figure)
            if report.answered < cohort:
                self._missing(report, planned)
            self.following.callbacks.after_round(report, figure)
            if self.following.keeping is not None:
                self.following.keeping.after_round(
                    self.so_far, self.privates, last=number == planned, before=self.following.callbacks.keep
                )
        if self.short and planned > _TOLD_ROUNDS:
            self.narrator.note(
                f"in {self.short:,} rounds not all of {cohort:,} devices answered; "
                f"{self.absent / self.short:,.1f} were missing on average"
            )

    def _keep(self, number: int, planned: int) -> None:
        """Keep the model for the curve, where the round is one of its points."""
        if number != planned and number % -(-planned // _CURVE_POINTS):
            return
        shared = self.coordinator.shared
        size = shared.nbytes + (0 if self.privates is None else self.privates.rows[:1].nbytes * len(self.watched))
        if number != planned and (len(self.so_far.models) + 2) * size > _CURVE_BYTES:
            return
        self.so_far.models[number] = replace(shared, kept={})  # an optimiser's moments are of no use for figures
        if self.privates is not None:
            self.so_far.kept[number] = self.privates.take(self.watched)

    def _measure(self, number: int) -> float | None:
        following = self.following
        if following.measure is None or not following.every or number % following.every:
            return None
        kept = None if self.privates is None else self.privates.take(self.watched)
        figure = self.so_far.measured[number] = following.measure(self.coordinator.shared, kept)
        return figure

    def _missing(self, report: RoundReport, planned: int) -> None:
        if planned <= _TOLD_ROUNDS:
            cohort = self.coordinator.cohort
            self.narrator.note(f"round {report.round_number}: {report.answered:,} of {cohort:,} devices answered")
        self.short += 1
        self.absent += self.coordinator.cohort - report.answered


def _min_count(config: RunConfig, cohort: int, protection: Protection | None) -> int:
    """Return the fewest devices whose sum is released.

    Raises:
        ConfigError: they are more than a round asks.
    """
    min_count = config.min_count
    if min_count is None:
        staying = 1.0 if protection is None or protection.noise == "central" else 1.0 - config.behaviour.dropout
        min_count = least_devices(int(cohort * staying), protection)
    if min_count > cohort:
        raise ConfigError(
            f"min_count asks for {min_count:,} devices, the cohort has {cohort:,}: lower one or raise the other"
        )
    return min_count


def least_devices(expected: int, protection: Protection | None) -> int:
    """Return the fewest devices whose sum is released, where nobody says; their shares make distributed noise whole."""
    if protection is not None and protection.noise == "distributed":
        return max(2, int(expected * _SURE_SHARE))
    return max(2, expected // 10)
