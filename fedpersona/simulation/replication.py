"""A larger population of the same law: every simulated person stands for many devices.

What a sum of many people loses to noise depends on how many they are, and not on who. To see what ten times the people
would bring, each person of a population is counted ten times; the noise stays what one person needs. It is a careful
estimate: ten times as many different people would also teach the model more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedpersona.aggregation.coordinator import Collector
from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import shares_at_once
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["EachForMany"]


class EachForMany:
    """Brings in the sum of few people, multiplied: what as many devices as are asked for would add up to.

    Where each person stands for a whole number of devices it is their sum, as exactly as a float64 holds it. Under
    distributed noise the shares of all these devices are drawn on top of it.

    Args:
        engine: sums over the people; all of them answer every round.
        model: the taste model.
        catalogue: its vocabulary.
        people: how many they are.
        devices: for how many devices they stand together; any number, also fewer.
    """

    def __init__(
        self, engine: Collector, model: TasteModel, catalogue: Catalogue, *, people: int, devices: int
    ) -> None:
        self.engine = engine
        self.model = model
        self.catalogue = catalogue
        self.people = people
        self.devices = devices
        self.description: str = getattr(engine, "description", "")

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Return the multiplied sum, and how many devices it stands for.

        Raises:
            ConfigError: the round does not ask all devices.
        """
        if plan.cohort < self.devices:
            raise ConfigError("people who stand for many devices answer all together: ask everyone")
        alone = replace(plan, cohort=max(plan.cohort, self.people), min_count=self.people)
        if plan.noise == "distributed":
            alone = replace(alone, noise="central")  # without shares: they are those of all devices
        total, count = self.engine.collect(alone, shared)
        each = self.devices / count
        arrays = {name: array * each for name, array in total.arrays.items()}
        if plan.noise == "distributed":
            fixed_point = FixedPoint.for_plan(plan, round_layout(self.model, self.catalogue, plan))
            for name, steps in shares_at_once(fixed_point, self.devices).items():
                arrays[name] = arrays[name] + steps / fixed_point.scale(name)
        arrays[DEVICES] = np.array([float(self.devices)])
        return Update(arrays), self.devices
