"""Random cohorts, parameters, drop-outs, lies and damaged messages, through both state machines, exchange by exchange.

Whatever happens: the exact sum over exactly those in it, or a failure by its name; and no device's two secrets.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fedpersona.errors import CohortTooSmall, DevicesLeft, PlanRefused, SumSpoilt
from fedpersona.privacy.secagg import Parameters
from fedpersona.privacy.secagg.graph import everyone
from tests.privacy.secagg.liars import LIES, lying
from tests.privacy.secagg.rounds import EXCHANGES, Round

DAMAGED = ("keys", "head", "view", "sealed", "survivors", "signature", "signatures", "shares")


def opens(round_: Round, gone: dict[str, set[int]]) -> bool:
    """Whether honest devices come to a sum of which some leave: Bell et al. 2020, algorithm 3, in sets."""
    least = max(round_.least, 3)
    if len(round_.people) < least:
        return False
    graph = everyone(round_.server._roster, len(round_.people), round_.parameters.neighbours)

    def holds(place: int, there: set[int]) -> bool:
        return len(there.intersection(graph[place])) >= round_.parameters.needed(len(graph[place]))

    shared = set(range(len(graph))) - gone["share"]
    while shared != (strong := {place for place in shared if holds(place, shared)}):
        shared = strong
    summed = shared - gone["train"]
    signed = summed - gone["agree"]
    answered = signed - gone["unmask"]
    masked_with = {place for place in shared if place in summed or summed.intersection(graph[place])}
    return len(summed) >= least and all(
        holds(place, there) for place in masked_with for there in (summed, signed, answered)
    )


class Rounds(RuleBasedStateMachine):
    """One round after another. Before each exchange anything may happen; then it takes place."""

    round: Round | None = None
    number = 0

    @initialize(data=st.data())
    def begin(self, data):
        self.number += 1
        half = data.draw(st.integers(1, 4), "half of the neighbours")
        neighbours = 2 * half
        parameters = Parameters(neighbours, data.draw(st.integers(half + 1, neighbours), "threshold"))
        self.size = data.draw(st.integers(4, 10), "devices")
        least = data.draw(st.integers(0, self.size // 2 + 1), "least")
        ring = data.draw(st.sampled_from([32, 64]), "ring")
        self.lies: dict[tuple[str, int], str] = {}
        self.damage: dict[tuple[str, int], int] = {}
        self.gone: dict[str, set[int]] = {exchange: set() for exchange in EXCHANGES}
        self.honest = True
        self.next = 0
        self.outcome: str | None = None
        self.round = Round(
            self.size, parameters, least=least, words=3, ring=ring, seed=self.number, plan=f"{self.number:064x}"
        )
        self.round.tamper = lying(self.round, self.lies, before=self.damaged)

    def damaged(self, name: str, place: int, message: bytes) -> bytes:
        bit = self.damage.get((name, place))
        if bit is None or not message:
            return message
        return (int.from_bytes(message, "little") ^ 1 << bit % (8 * len(message))).to_bytes(len(message), "little")

    @precondition(lambda self: self.outcome is None and self.next < len(EXCHANGES))
    @rule(number=st.integers(0, 9))
    def a_device_leaves(self, number):
        self.gone[EXCHANGES[self.next]].add(number % self.size)

    @precondition(lambda self: self.outcome is None and self.next)
    @rule(number=st.integers(0, 9), data=st.data())
    def a_device_lies(self, number, data):
        message = data.draw(st.sampled_from(sorted(LIES)))
        self.lies[message, number % len(self.round.people)] = data.draw(st.sampled_from(sorted(LIES[message])))
        self.honest = False

    @precondition(lambda self: self.outcome is None)
    @rule(name=st.sampled_from(DAMAGED), number=st.integers(0, 9), bit=st.integers(0, 2**14))
    def a_message_is_damaged(self, name, number, bit):
        self.damage[name, number % self.size] = bit
        self.honest = False

    @precondition(lambda self: self.outcome is None and self.next)
    @rule(number=st.integers(0, 9))
    def a_device_is_asked_out_of_turn(self, number):
        machine = self.round.people[number % len(self.round.people)].machine
        with pytest.raises(PlanRefused):
            machine.advertise()
        assert machine.finished
        self.honest = False

    @precondition(lambda self: self.outcome is None)
    @rule()
    def an_exchange_takes_place(self):
        try:
            if self.next < len(EXCHANGES):
                exchange = EXCHANGES[self.next]
                getattr(self.round, exchange)(self.gone[exchange])
                self.next += 1
                return
            total = self.round.server.open()
        except (CohortTooSmall, DevicesLeft) as failure:
            self.outcome = type(failure).__name__
        except SumSpoilt:
            assert not self.honest
            self.outcome = "SumSpoilt"
        else:
            assert np.array_equal(total, self.round.truth())
            assert self.round.server.count == len(self.round.summed) >= max(self.round.least, 3)
            self.outcome = "exact"
        event(f"{self.outcome}, {'honest' if self.honest else 'with faults'}")
        if self.honest:
            assert not self.round.server.faulty
            assert not self.round.refusals
            assert (self.outcome == "exact") == opens(self.round, self.gone)

    @precondition(lambda self: self.outcome is not None)
    @rule(data=st.data())
    def another_round_begins(self, data):
        self.begin(data)

    @invariant()
    def nobody_gave_both_secrets_of_a_device(self):
        assert self.round is None or self.round.nobody_gave_both()

    @invariant()
    def a_device_whose_round_is_over_has_no_secrets(self):
        for person in self.round.people if self.round else ():
            assert not person.machine.finished or person.machine._secrets == type(person.machine._secrets)()

    def teardown(self):
        """Go on to the end, so that every example comes to one; then the same devices take part in the next round."""
        if self.round is not None:
            while self.outcome is None:
                self.an_exchange_takes_place()
            again = Round(self.size, self.round.parameters, words=3, seed=self.number, plan="cd" * 32)
            assert np.array_equal(again.run(), again.truth())


TestRounds = Rounds.TestCase
TestRounds.settings = settings(
    max_examples=70,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],  # rules wait for their turn
)
