"""The coordinator: choose a cohort, send the plan, collect the sum, fold it in. One class over one small interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fedpersona.aggregation.one_thread import one_thread
from fedpersona.catalogue import Catalogue
from fedpersona.errors import CohortTooSmall
from fedpersona.privacy.fixed_point import FixedPoint, has_room, smallest_ring
from fedpersona.privacy.mechanism import released
from fedpersona.privacy.protection import Protection
from fedpersona.privacy.secagg import Parameters
from fedpersona.taste.counters import metrics_of, round_layout, without_counters
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["Collector", "Coordinator", "RoundReport"]


class Collector(Protocol):
    """Whatever can bring in the sum of a round: a simulation engine, a grid in one process, a real deployment.

    One whose devices are never sent the model, as they work on the very arrays of this process, may say so by an
    attribute ``sends_model`` that is false: plans then go without the model's hash, which nobody would check.
    """

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Return the total over the devices that answered, and how many they were.

        Raises:
            CohortTooSmall: fewer than ``plan.min_count`` answered; no total exists then.
        """
        ...


@dataclass(frozen=True)
class RoundReport:
    """What a round cost and who took part, in numbers."""

    round_number: int
    answered: int
    """Devices in the sum."""
    bytes_up: int
    """Bytes that each of them sent."""
    bytes_down: int
    """Bytes that each of them received."""
    ring_bits: int
    metrics: Mapping[str, float]
    """How the model that the round started from did on its devices, as sums over them; empty where nobody counted."""
    seconds_collecting: float
    seconds_applying: float


class Coordinator:
    """Runs the rounds of one federation.

    Args:
        model: the taste model, whose ``apply`` this side calls.
        catalogue: the public vocabulary.
        collector: brings in the sums.
        cohort: most devices a round asks.
        min_count: fewest devices whose sum may be released.
        seed: keys the initial model and the choice of cohorts.
        ring_bits: 32 or 64; by default the smallest that keeps 16 bits an entry.
        clip: longest update of a device; None where only its entries are bounded.
        masked: whether devices are asked to mask their updates.
        masks: how many neighbours they mask with, and how many of these recover what one shared.
        metrics: whether devices count how well the shared model does on them.
        protection: what differential privacy the rounds promise; None where the model's ``noise`` is 0.
        spend: called with a plan before anything of its sum is released; it may raise, and nothing is.
        run: names the training run.
        stamp: completes a plan before it is used: federation, serial and times, where it goes over a network.
        shared: the model to go on from; by default a new one.
    """

    def __init__(
        self,
        model: TasteModel,
        catalogue: Catalogue,
        collector: Collector,
        *,
        cohort: int,
        min_count: int,
        seed: int,
        ring_bits: int | None = None,
        clip: float | None = None,
        masked: bool = False,
        masks: Parameters | None = None,
        metrics: bool = False,
        protection: Protection | None = None,
        spend: Callable[[Plan], None] = lambda plan: None,
        run: str = "",
        stamp: Callable[[Plan], Plan] = lambda plan: plan,
        shared: Shared | None = None,
    ) -> None:
        self.model = model
        self.catalogue = catalogue
        self.collector = collector
        self.cohort = cohort
        self.min_count = min_count
        self.seed = seed
        self.clip = clip
        self.masked = masked
        self.masks = masks or Parameters()
        self.metrics = metrics
        self.protection = protection
        self._spend = spend
        self.run_id = run
        self.ring_bits = smallest_ring(cohort) if ring_bits is None else ring_bits
        self._stamp = stamp
        if shared is None:
            with one_thread():
                shared = model.init(catalogue, seed)
        self.shared = shared
        if ring_bits is None and protection is not None and protection.noise == "distributed":
            self._widen_ring()

    def _widen_ring(self) -> None:
        """Take the larger ring where devices' noise leaves too little room in the smaller."""
        for number in {1, self.model.planned_rounds(self.catalogue)}:
            plan = self.plan(number)
            if not has_room(plan, round_layout(self.model, self.catalogue, plan)):
                self.ring_bits = 64

    def plan(self, round_number: int) -> Plan:
        """Return the plan of a round.

        Raises:
            ConfigError: noise is to be added, and the model does not state how long an update can be.
        """
        plan = Plan(
            model=self.model.name,
            round_number=round_number,
            cohort=self.cohort,
            min_count=self.min_count,
            ring_bits=self.ring_bits,
            seed=self.seed,
            run=self.run_id,
            catalogue=self.catalogue.version,
            shared_hash=self.shared.hash() if getattr(self.collector, "sends_model", True) else "",
            settings=tuple(sorted(self.model.model_dump().items())),
            clip=self.clip,
            masked=self.masked,
            neighbours=self.masks.neighbours,
            threshold=self.masks.threshold,
            metrics=self.metrics,
        )
        if self.protection is None:
            return plan
        length = round_layout(self.model, self.catalogue, plan).length
        return replace(plan, **self.protection.terms(self.model.name, length, self.model.noise))

    def run_round(self) -> RoundReport:
        """Run the next round: collect the sum, check it against the layout, fold it in.

        Raises:
            CohortTooSmall: too few devices answered; the shared model is as it was.
            LayoutMismatch: the total is not of the declared form; the shared model is as it was.
            SumSpoilt: it does not count as many devices as answered; likewise.
            BudgetSpent: the account of privacy does not allow the release; likewise.
        """
        plan = self._stamp(self.plan(self.shared.round_number + 1))
        layout = round_layout(self.model, self.catalogue, plan)
        started = time.perf_counter()
        total, count = self.collector.collect(plan, self.shared)
        if count < plan.min_count:
            raise CohortTooSmall(plan.round_number, count, plan.min_count)
        total.check(layout)
        without_counters(total, plan, count)  # shows that it is a sum, before the budget pays for it
        self._spend(plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        total = released(total, plan, fixed_point)
        own = without_counters(total, plan, count)
        collected = time.perf_counter()
        bytes_down = self.shared.nbytes
        with one_thread():  # the model must not depend on how many cores the server has
            self.shared = self.model.apply(self.shared, own, count)
        return RoundReport(
            round_number=plan.round_number,
            answered=count,
            bytes_up=fixed_point.bytes_per_update,
            bytes_down=bytes_down,
            ring_bits=plan.ring_bits,
            metrics=metrics_of(total),
            seconds_collecting=collected - started,
            seconds_applying=time.perf_counter() - collected,
        )

    def run(self) -> Iterator[RoundReport]:
        """Run the rounds that the model plans, giving a report after each."""
        for _ in range(self.model.planned_rounds(self.catalogue)):
            yield self.run_round()
