"""How simulated devices behave: when they can be reached, and how often they never answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fedpersona.aggregation.sampling import sample_cohort
from fedpersona.errors import CohortTooSmall
from fedpersona.randomness import uniforms
from fedpersona.wire.plan import Plan

__all__ = ["Behaviour"]


class Behaviour(BaseModel):
    """Availability by the hour, and drop-outs. Everything is keyed by device and round: order does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of asked devices that never answer."""
    available: float = Field(1.0, gt=0, le=1)
    """Share of devices that can be reached (charging, idle, on an unmetered network) at their best hour."""
    daily_swing: float = Field(0.0, ge=0, le=1)
    """How much less can be reached twelve hours away: 0 not at all, 1 nobody. The best hour is at night."""
    hours_per_round: float = Field(6.0, gt=0)
    """Simulated time between rounds; the first round starts at midnight, universal time."""

    def reachable(self, seed: int, round_number: int, devices: int) -> NDArray[np.int64]:
        """Return the devices that can be reached in a round, increasing.

        A device lives in one time zone, the same in all rounds; its best hour is 3 at night there.
        """
        everyone = np.arange(devices, dtype=np.int64)
        if self.available == 1.0 and self.daily_swing == 0.0:
            return everyone
        zone = np.floor(uniforms(seed, "time zone", everyone) * 24.0)
        hour = ((round_number - 1) * self.hours_per_round + zone) % 24.0
        night = (1.0 + np.cos((hour - 3.0) * (2 * np.pi / 24.0))) / 2.0
        chance = self.available * (1.0 - self.daily_swing * (1.0 - night))
        return everyone[uniforms(seed, "reachable", everyone, round_number=round_number) < chance]

    def asked(self, plan: Plan, devices: int) -> NDArray[np.int64]:
        """Return who is asked in a round: the reachable, up to the cohort."""
        return sample_cohort(plan, self.reachable(plan.seed, plan.round_number, devices))

    def answering(self, plan: Plan, devices: int) -> NDArray[np.int64]:
        """Return who answers in a round: some of those who are asked drop out.

        Raises:
            CohortTooSmall: fewer than the plan's minimum answer.
        """
        asked = self.asked(plan, devices)
        if self.dropout == 0.0 and len(asked) >= plan.min_count:
            return asked
        draws = uniforms(plan.seed, "drop-out", asked, round_number=plan.round_number)
        answered = asked[draws >= self.dropout]
        if len(answered) < plan.min_count:
            raise CohortTooSmall(plan.round_number, len(answered), plan.min_count)
        return answered
