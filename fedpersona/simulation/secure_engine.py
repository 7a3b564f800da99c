"""The sum of a round by the real protocol, in process: every device masks, and the server opens the sum only."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from fedpersona.errors import CohortTooSmall
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import noisy_words
from fedpersona.privacy.secagg import ServerRound
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import Progress, silent
from fedpersona.simulation.population import Population
from fedpersona.simulation.secure_crowd import SecureCrowd
from fedpersona.simulation.simulated_device import addend
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.message import Words
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = ["MOST_DEVICES", "SecureEngine"]

MOST_DEVICES = 300
"""Devices of a round that run the protocol; of more, the sum is taken that it would give, to the bit."""


class SecureEngine:
    """Runs both state machines of secure aggregation for each device that is asked.

    A device that drops out does so after it shared its secrets: the others take its masks off.
    """

    description = "secure aggregation, device by device"

    def __init__(
        self, model: TasteModel, population: Population, behaviour: Behaviour, progress: Progress = silent
    ) -> None:
        self.model = model
        self.population = population
        self.behaviour = behaviour
        self.progress = progress

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Take the sum over the devices that answer.

        Raises:
            CohortTooSmall: fewer answer than the plan says.
            DevicesLeft: so many dropped out that the sum cannot be opened.
        """
        layout = round_layout(self.model, self.population.catalogue, plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        asked = self.behaviour.asked(plan, len(self.population)).tolist()
        answering = frozenset(self.behaviour.answering(plan, len(self.population)).tolist())
        if len(asked) < plan.min_count:
            raise CohortTooSmall(plan.round_number, len(asked), plan.min_count)
        done = 0

        def words_of(device: int) -> Words:
            nonlocal done
            plays = self.population.plays(device)
            update = addend(self.model, layout, plan, shared, plays, device=device)
            done += 1
            self.progress(done, len(answering))
            return noisy_words(update, plan, fixed_point, plays)

        server = ServerRound.for_plan(plan, layout.size)
        crowd = SecureCrowd(plan, asked, seed=plan.seed)
        with threadpool_limits(1):
            crowd.enter(server)
            crowd.share(server, server.close_roster().encode())
            going = server.close_shares()
            crowd.leave(set(asked) - answering)
            crowd.update(server, going, words_of)
        crowd.agree(server, server.close_vectors(), server.summed)
        crowd.unmask(server, server.close_signatures())
        return fixed_point.decode_words(server.open()), server.count
