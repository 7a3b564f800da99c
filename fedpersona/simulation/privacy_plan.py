"""What a promise of privacy will cost, before any training: its noise, its bytes, and what accuracy to expect.

Noise, account and bytes follow from public numbers; accuracy is simulated (:mod:`fedpersona.simulation.expectation`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from fedpersona.aggregation import Coordinator
from fedpersona.privacy.accounting import Account, GaussianRelease, account
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.wording import sentence
from fedpersona.simulation.expectation import GOOD, Expected, Promise, expect, good_from
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.private_run import note_delta
from fedpersona.simulation.training import least_devices
from fedpersona.taste import TasteModel
from fedpersona.taste.counters import round_layout

__all__ = ["PrivacyPlan", "plan_privacy"]


@dataclass(frozen=True)
class PrivacyPlan:
    """The answer."""

    promise: Promise
    model: TasteModel
    """With its noise, and the settings that suit it."""
    cost: Account
    multipliers: list[float]
    """Deviation of the noise over the longest update, by round."""
    min_count: int
    """Fewest devices whose sum is released; under distributed noise their shares make it whole."""
    bytes_up: int
    """What a device sends in all rounds."""
    sentence: str
    expected: list[Expected]
    good_from: int | None
    """The population where it becomes good; None where no population that was looked at is."""

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        promise, cost = self.promise, self.cost
        return {
            "users": promise.users,
            "model": promise.model,
            "items": promise.items,
            "settings": self.model.model_dump(),
            "privacy": {
                "epsilon": promise.epsilon,
                "delta": promise.delta,
                "unit": "user",
                "noise": promise.noise,
                "deviation": self.model.noise,
                "noise_multipliers": self.multipliers,
                "rounds": len(self.multipliers),
                "mu": cost.mu,
                "epsilon_pld": cost.epsilon,
                "epsilon_rdp": cost.epsilon_rdp,
                "epsilon_exact": cost.epsilon_exact,
                "sentence": self.sentence,
            },
            "cohort": promise.users,
            "min_count": self.min_count,
            "bytes_up_per_device": self.bytes_up,
            "expected": [asdict(expected) for expected in self.expected],
            "good": {"kept": GOOD, "users": self.good_from},
        }


def plan_privacy(promise: Promise, narrator: Narrator) -> PrivacyPlan:
    """Work out what a promise takes, and simulate what is left of accuracy.

    Raises:
        ConfigError: the model, a setting, ε or δ is not what it should be, or no noise keeps the promise.
    """
    with threadpool_limits(1):
        return _plan(promise, narrator)


def _plan(promise: Promise, narrator: Narrator) -> PrivacyPlan:
    narrator.stage("working out the noise")
    note_delta(promise.delta, promise.users, narrator)
    model, protection = promise.kept(promise.exact, promise.catalogue, promise.users)
    min_count = least_devices(promise.users, protection)
    coordinator = Coordinator(
        model,
        promise.catalogue,
        _Nobody(),
        cohort=promise.users,
        min_count=min_count,
        seed=0,
        protection=protection,
    )
    plans = [coordinator.plan(number) for number in range(1, model.planned_rounds(promise.catalogue) + 1)]
    multipliers = [plan.noise_multiplier for plan in plans if plan.noise_multiplier is not None]
    cost = account([GaussianRelease(multiplier) for multiplier in multipliers], promise.delta)
    expected = expect(promise, narrator)
    return PrivacyPlan(
        promise=promise,
        model=model,
        cost=cost,
        multipliers=multipliers,
        min_count=min_count,
        bytes_up=sum(
            FixedPoint.for_plan(plan, round_layout(model, promise.catalogue, plan)).bytes_per_update for plan in plans
        ),
        sentence=sentence(promise.epsilon, promise.delta, cost.mu),
        expected=expected,
        good_from=good_from(expected),
    )


class _Nobody:
    """No collector: plans are made, and no round is run."""

    def collect(self, plan: Any, shared: Any) -> Any:
        raise NotImplementedError
