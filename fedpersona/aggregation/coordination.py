"""One training, from wherever the last process left it to a promoted model. Killed anywhere, it is simply run again.

What is durable, and when: a plan's serial before the plan exists; a round's model before the round counts; the
version and its promotion before the training is finished; and, where sums have noise, what a sum costs before it is
released. So a restart goes on after the last completed round, no
plan is used twice, and nothing is counted twice: an attempt that was cut off released nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fedpersona.aggregation.certificates import signing_key
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.erasure import erase_messages
from fedpersona.aggregation.grid_collector import GridCollector, Pace
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.logs import JsonLog
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.serials import Serials
from fedpersona.aggregation.spending import Spending, promised, promises, same_model, same_promise, spending
from fedpersona.aggregation.state_lock import COORDINATOR, held
from fedpersona.aggregation.trainings import Training, Trainings
from fedpersona.catalogue import Catalogue
from fedpersona.errors import (
    BudgetSpent,
    CohortTooSmall,
    ConfigError,
    DevicesLeft,
    RoundFailed,
    ServerError,
    SumSpoilt,
)
from fedpersona.flower.unreadable import guard_replies
from fedpersona.taste.counters import round_layout
from fedpersona.taste.registry import create
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import unseal

if TYPE_CHECKING:
    from flwr.serverapp import Grid
    from structlog.typing import FilteringBoundLogger

    from fedpersona.taste.model import Shared, TasteModel

__all__ = ["Coordination", "train"]

_LONGEST_WAIT = 90.0  # seconds for another coordinator to end
_FRESH = 0.2  # seconds that the list of enrolled devices is good for: a thousand replies need not read it each
_OUTCOMES: dict[type[Exception], str] = {DevicesLeft: "devices left", SumSpoilt: "spoilt"}
_BESIDE = 4 << 20  # bytes of a reply beside the model's numbers, at most
_EXCHANGES = 5  # of a secure sum
_OVERTIME = 60  # seconds that a plan is valid beyond its exchanges


def train(config_file: str | Path, grid: Grid) -> int:
    """Run one training by a server's configuration, and promote what it learns.

    Args:
        config_file: the server's ``server.toml``.
        grid: Flower's way to the devices.

    Returns:
        The version that was promoted.

    Raises:
        RoundFailed: a round failed as often as the configuration allows; the training goes on from there next time.
        BudgetSpent: the privacy budget does not pay for the next round, or for a training; all that is to be said of
            it has been said, and no run begins until something changes.
        ServerRunning: another coordinator is at work.
        InputError: the configuration or the state is not what it should be.
    """
    config = ServerConfig.load(config_file)
    # One that a killed SuperLink left behind ends by itself; until then there must not be two.
    alone = held(config.server.state, COORDINATOR, wait=_LONGEST_WAIT)
    with alone, Database.open(config.database) as database, closing(JsonLog(config.logs, "coordinator")) as log:
        return Coordination(config, database, log=log.logger()).train(grid)


@dataclass
class _Attempt:
    """The attempt at a round that is under way."""

    round_number: int = 0
    number: int = 0
    """Counted from 1 in each round."""
    plan: Plan | None = None
    serial: int = 0
    record: int | None = None


class Coordination:
    """Holds what one training needs.

    Args:
        config: the server's configuration.
        database: the server's state.
        clock: gives Unix seconds.
        log: where rounds are told, with their ids; by default nowhere but in the journal.
    """

    def __init__(
        self,
        config: ServerConfig,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        models = config.models
        self.config = config
        self._database = database
        self._budget: Spending | None = None
        self.journal = Journal(database)
        self.roster = Roster(database)
        self.registry = Registry(database, models)
        self.trainings = Trainings(database, models)
        self._serials = Serials(database)
        self._clock = clock
        self._log = log
        self._members: dict[int, bytes] = {}
        self._read_at = float("-inf")
        self._key = signing_key(config.server.signing_key)
        self._attempt = _Attempt()
        self._metrics: dict[str, float] = {}
        """What devices counted in the last round that this process held."""

    def train(self, grid: Grid) -> int:
        """Train to the end and promote; see :func:`train`."""
        with ExitStack() as stack:
            try:
                self._budget = stack.enter_context(spending(self.config, self._database, self._key, clock=self._clock))
            except (ConfigError, ServerError) as error:
                self.journal.say("waiting", str(error))
                raise
            try:
                return self._train(grid)
            except BudgetSpent as error:
                self._stopped(str(error))
                raise
            finally:
                self._budget = None

    def _train(self, grid: Grid) -> int:
        catalogue = self._catalogue()
        training = self._current(catalogue)
        model = create(training.model, training.settings)
        collector = self._collector(grid, model, catalogue, training)
        self._erase(collector)  # of a coordinator that was killed
        coordinator = self._coordinator(collector, model, catalogue, training)
        planned = model.planned_rounds(catalogue)
        largest = max(model.layout(catalogue, number).size for number in range(1, planned + 1))
        guard_replies(largest * coordinator.ring_bits // 8 + _BESIDE)
        while coordinator.shared.round_number < planned:
            self._round(coordinator, collector, training, planned)
        version = self._register(coordinator.shared, training)
        self._promote(version)
        self.trainings.finish(training)
        self.registry.prune(keep=5)
        self.journal.ring()  # devices that wait learn that there is a model to fetch
        self.journal.say("idle", f"version {version} is served")
        return version

    # -- beginning --

    def _catalogue(self) -> Catalogue:
        file = self.config.model.catalogue
        return unseal(file.read_bytes(), [self._key.public_key().public_bytes_raw()]).catalogue

    def _current(self, catalogue: Catalogue) -> Training:
        """Return the training to go on with; one of another model or catalogue is given up."""
        training = self.trainings.current()
        if training is not None and (why := self._given_up(training, catalogue)):
            self.journal.event("training abandoned", f"training {training.id}: {why}")
            self.trainings.abandon(training)
            training = None
        if training is not None:
            return training
        model, protection = self.config.model.create(), None
        if self._budget is not None:
            model, protection = self._budget.protect(model, catalogue, len(self._enrolled()))
        settings, promise = model.model_dump(mode="json"), promises(self.config, protection)
        return self.trainings.begin(model.name, settings, catalogue.version, secrets.randbits(62), promise)

    def _given_up(self, training: Training, catalogue: Catalogue) -> str:
        """Return why a training is not gone on with, nothing where it is."""
        if training.catalogue != catalogue.version or not same_model(training, self.config):
            return "model or catalogue were changed"
        if not same_promise(training, self.config):
            return "the section [privacy] was changed, or whether devices test the model"
        if self._budget is not None and not training.round_number:
            try:
                self._budget.allow_all(training, create(training.model, training.settings), catalogue)
            except BudgetSpent:  # what is left may still pay for one with more noise
                return "what is left of the privacy budget does not pay for all of it any more"
        return ""

    def _coordinator(
        self, collector: GridCollector, model: TasteModel, catalogue: Catalogue, training: Training
    ) -> Coordinator:
        rounds = self.config.rounds
        shared = self.trainings.resume(training)
        coordinator = Coordinator(
            model,
            catalogue,
            collector,
            cohort=rounds.cohort,
            min_count=rounds.min_count,
            seed=training.seed,
            clip=rounds.clip,
            masked=rounds.masked,
            masks=rounds.masks,
            metrics=rounds.metrics,
            protection=promised(training, self.config),
            spend=lambda plan: self._spend(plan, training),
            run=f"training {training.id}",
            stamp=self._stamped,
            shared=shared,
        )
        if shared is None:
            self.trainings.checkpoint(training, coordinator.shared, 0)  # devices fetch it from there
        return coordinator

    def _collector(self, grid: Grid, model: TasteModel, catalogue: Catalogue, training: Training) -> GridCollector:
        rounds = self.config.rounds
        collector = GridCollector(
            grid,
            lambda plan: round_layout(model, catalogue, plan),
            key=self._key,
            enrolled=self._enrolled,
            pace=Pace(
                rounds.wait_for,
                rounds.gather_seconds,
                rounds.deadline_seconds,
                rounds.over_sampling,
                rounds.linger_seconds,
            ),
            rung=self.journal.ring,
            told=lambda stage: self._tell(stage, collector, training),
        )
        return collector

    # -- a round --

    def _round(self, coordinator: Coordinator, collector: GridCollector, training: Training, planned: int) -> None:
        """Hold one round, again where devices left."""
        number = coordinator.shared.round_number + 1
        attempts = self.config.rounds.attempts
        for attempt in range(1, attempts + 1):
            self._attempt = _Attempt(number, attempt)
            if self._budget is not None:
                self._budget.allow(coordinator.plan(number), training)
            self.journal.say("gathering", f"round {number} of {planned}: waits for devices")
            try:
                report = coordinator.run_round()
                self.trainings.checkpoint(training, coordinator.shared, report.answered)
            except (CohortTooSmall, DevicesLeft, SumSpoilt) as error:
                outcome = _OUTCOMES.get(type(error), "too few devices")
                self._ended(collector, training, outcome)
                if attempt == attempts:
                    self.journal.say("waiting", f"{planned} rounds are planned; {error}")
                    raise
                continue
            except BaseException:
                self._ended(collector, training, "failed")
                raise
            self._ended(collector, training, "completed")
            self._metrics = dict(report.metrics)
            return
        raise RoundFailed(f"round {number} was never tried: attempts must be at least 1")

    def _stamped(self, plan: Plan) -> Plan:
        """Give a plan the serial that it alone has, and its time."""
        rounds = self.config.rounds
        serial, now = self._serials.next(), int(self._clock())
        lasts = rounds.gather_seconds + _EXCHANGES * rounds.deadline_seconds + _OVERTIME
        self._attempt.serial = serial
        self._attempt.plan = replace(
            plan, federation=self.config.federation.name, serial=serial, issued=now, expires=now + int(lasts)
        )
        return self._attempt.plan

    def _enrolled(self) -> dict[int, bytes]:
        """Return who may take part; read again so often that a revocation acts in the same round."""
        if time.monotonic() - self._read_at > _FRESH:
            self._members, self._read_at = self._read_members(), time.monotonic()
        return self._members

    def _read_members(self) -> dict[int, bytes]:
        return {
            device.node_id: device.signing_key
            for device in self.roster.devices()
            if device.node_id is not None and device.revoked_at is None
        }

    def _tell(self, stage: str, collector: GridCollector, training: Training) -> None:
        """Record that a stage begins; the record of the round begins when it is known who is asked."""
        if stage == "gathering":
            return
        attempt = self._attempt
        if attempt.record is None:
            asked = collector.tally.asked
            self.journal.say("training", f"round {attempt.round_number}: {asked} devices are asked")
            attempt.record = self.journal.begin(
                training.id, attempt.round_number, attempt.number, attempt.serial, asked
            )
        self.journal.phase(attempt.record, stage)
        if stage == "unmasking" and attempt.plan is not None and attempt.plan.noise == "distributed":
            self._spend(attempt.plan, training)  # the sum that is opened now has its noise: this is its release

    def _spend(self, plan: Plan, training: Training) -> None:
        if self._budget is not None:
            self._budget.spend(plan, training)

    def _ended(self, collector: GridCollector, training: Training, outcome: str) -> None:
        self._erase(collector)
        attempt, counts = self._attempt, collector.tally.counts()
        if self._log is not None:
            told = {"training": training.id, "round": attempt.round_number, "attempt": attempt.number}
            self._log.info("round.ended", outcome=outcome, serial=attempt.serial, **told, **counts)
        if attempt.record is not None:
            self.journal.end(attempt.record, outcome, **counts)

    def _erase(self, collector: GridCollector) -> None:
        """Let nothing that devices sent outlive the attempt; where that fails, the next one tries it again."""
        try:
            late = erase_messages(self.config.superlink().database)
        except ServerError as error:
            if self._log is not None:
                self._log.error("erasure.failed", words=str(error))
            return
        if late is not None:
            collector.tally.late += late
            collector.forget_late()

    # -- the end --

    def _register(self, shared: Shared, training: Training) -> int:
        # Devices tested the model that the last round started from: the last one was never sent out for a test.
        metrics = self._metrics | {"rounds": shared.round_number, "answered": self.trainings.answered(training)}
        if self._budget is not None:
            metrics |= self._budget.metadata()
        return self.registry.register(shared, training.settings, metrics, training)

    def _promote(self, version: int) -> None:
        self.registry.promote(version, self._key, self.config.federation.name)

    def _stopped(self, why: str) -> None:
        """Keep what was learned before the budget was spent, say so, and let no run begin until something changes.

        A model of some of its rounds is served where there is no other; it does not take the place of a whole one. The
        training stays open: once the operator has raised the limit, it goes on.
        """
        training = self.trainings.current()
        shared = self.trainings.resume(training) if training is not None and training.round_number else None
        words = why
        if training is not None and shared is not None:
            version, served = self._register(shared, training), self.registry.promoted()
            rounds = "1 round" if shared.round_number == 1 else f"{shared.round_number} rounds"
            words += f". What training {training.id} learned in {rounds} is version {version}"
            if served is None or served.number == version:
                words += ", which is served"
            else:
                words += f"; version {served.number} stays served, and 'fedpersona server promote {version}' changes it"
            if served is None:
                self._promote(version)
                self.journal.ring()
        self.journal.say("spent", words)
        self.journal.event("budget", words)
        if self._budget is not None:
            self._budget.halt()
