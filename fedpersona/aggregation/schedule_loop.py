"""Starts a run of the coordinator whenever one is due, and looks after it until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Protocol

from fedpersona.aggregation import scheduling
from fedpersona.aggregation.budget_witness import halted_at
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.erasure import erase_messages
from fedpersona.aggregation.reconcile import Nodes, reconcile
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.spending import halt_terms
from fedpersona.aggregation.state_lock import COORDINATOR, is_held
from fedpersona.aggregation.superlink import RunState
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import FedpersonaError, ServerError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.config import ServerConfig

__all__ = ["Runs", "ScheduleLoop"]

_LOOK = 1.0  # seconds between two looks at a run
_GRACE = 5.0  # seconds that a coordinator has to tell Flower that it is done
_STARTING = 45.0  # seconds that it has to begin
_PAUSE = 2.0  # seconds after something that should have answered did not


class Runs(Nodes, Protocol):
    """What starts runs: :class:`fedpersona.aggregation.superlink.Control`."""

    def start_run(self, bundle: bytes, config: Mapping[str, str]) -> int:
        """Start a run, giving its id."""
        ...

    def runs(self) -> Mapping[int, RunState]:
        """Return the newest runs by id."""
        ...

    def stop_run(self, run_id: int) -> None:
        """Stop a run."""
        ...


class ScheduleLoop:
    """One training at a time, each in a run of its own; a run that failed is followed by another.

    The first failure is followed by another run at once: a process that was killed is no pattern. From the second on,
    without a completed round between, the wait is that of :func:`fedpersona.aggregation.scheduling.wait_after`.

    Args:
        config: the server's.
        database: the server's.
        runs: where runs are started.
        bundle: what a run is of.
        log: where it is told.
        clock: gives Unix seconds.
    """

    def __init__(
        self,
        config: ServerConfig,
        database: Database,
        runs: Runs,
        bundle: Callable[[], bytes],
        log: FilteringBoundLogger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._database = database
        self._trainings = Trainings(database, config.models)
        self._roster = Roster(database)
        self._runs = runs
        self._bundle = bundle
        self._log = log
        self._clock = clock
        self._run: int | None = None
        self._at_work = 0.0  # when the run's coordinator was last seen at work, or should be by
        self._failures = 0
        self._failed_at: float | None = None
        self._reached: tuple[int, int | None] | None = None

    def run(self, stop: Event) -> None:
        """Look again and again until told to stop; what fails is logged, and tried again."""
        wait = 0.0
        last = ""
        in_line = False
        while not stop.wait(wait):
            try:
                if not in_line:
                    self._bring_in_line()
                    in_line = True
                wait, last = self.look(), ""
            except (FedpersonaError, OSError) as error:
                if str(error) != last:  # once, not every two seconds of an outage
                    self._log.error("schedule.failed", error=type(error).__name__, words=str(error))
                wait, last = _PAUSE, str(error)

    def _bring_in_line(self) -> None:
        added, removed = reconcile(self._roster, self._runs)
        if added or removed:
            self._log.warning("devices.reconciled", registered=added, removed=removed)

    def look(self) -> float:
        """Do what is to be done now; return the seconds until the next look.

        Raises:
            FedpersonaError: the SuperLink or the database does not answer.
        """
        states = self._runs.runs()
        if self._run is None:
            self._take(next((run for run, state in states.items() if not state.over), None))
        if self._run is not None:
            state = states.get(self._run)
            if state is not None and not state.over and not self._died():
                return _LOOK
            self._over(self._run, state)
        return self._start_if_due()

    def _take(self, run: int | None) -> None:
        self._run = run
        self._at_work = time.monotonic() + _STARTING

    def _died(self) -> bool:
        """Tell whether the run's coordinator was at work and is gone: Flower itself notices in a minute only."""
        now = time.monotonic()
        if is_held(self._config.server.state, COORDINATOR):
            self._at_work = now
        if now - self._at_work < _GRACE:
            return False
        if self._run is not None:
            self._runs.stop_run(self._run)
        return True

    def _start_if_due(self) -> float:
        history = self._trainings.history(max(0, self._failures - 1), self._failed_at)
        history = replace(history, halted=halted_at(self._database, halt_terms(self._config)))
        devices = self._roster.fleet(history)
        now = self._clock()
        if not scheduling.due(self._config, now, history, devices):
            return scheduling.next_look(self._config, now, history, devices)
        self._take(self._runs.start_run(self._bundle(), {"server": str(self._config.file)}))
        self._log.info("run.started", run=self._run, devices=devices.enrolled, goes_on=history.running)
        return _LOOK

    def _erase(self) -> None:
        """Delete what devices sent to a coordinator that did not end as it should; the next one tries it again."""
        try:
            erase_messages(self._config.superlink().database)
        except ServerError as error:
            self._log.error("erasure.failed", words=str(error))

    def _over(self, run: int, state: RunState | None) -> None:
        self._run = None
        if state is not None and state.outcome == "completed":
            self._failures, self._failed_at, self._reached = 0, None, None
            self._log.info("run.completed", run=run)
            return
        self._erase()
        training = self._trainings.current()
        reached = None if training is None else (training.id, training.round_number)
        self._failures = 1 if reached != self._reached else self._failures + 1
        self._reached, self._failed_at = reached, self._clock()
        self._log.error(
            "run.failed",
            run=run,
            outcome="lost" if state is None else state.outcome,
            details="" if state is None else state.details[:300],
            training=None if training is None else training.id,
            round=None if training is None else training.round_number,
            failures=self._failures,
        )
