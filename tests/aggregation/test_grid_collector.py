"""A round over a grid: whom it asks, what it adds up, whom it waits for, and when it gives nothing out."""

from __future__ import annotations

import time

import pytest

from fedpersona.errors import CohortTooSmall, DevicesLeft
from tests.aggregation.people import (
    CROWD,
    FIRST,
    KINDS,
    MASKS,
    MODEL,
    PEOPLE,
    SPARE,
    coordinated,
    grid_of,
    honest,
    keys_of,
    of_all_but,
)

TOO_MANY = frozenset(range(FIRST, FIRST + SPARE + 1))


class Holding:
    """Keeps some replies of a grid back until they are let go."""

    def __init__(self, grid, nodes, kind: str) -> None:
        self.held: list = []
        self.open = False
        pull = grid.pull_messages

        def pulled(names):
            names = set(names)
            for reply in pull(names):
                late = reply.metadata.src_node_id in nodes and reply.metadata.message_type == kind
                if late and not self.open:
                    self.held.append(reply)
                else:
                    yield reply
            if self.open:
                ready = [reply for reply in self.held if reply.metadata.reply_to_message_id in names]
                self.held = [reply for reply in self.held if reply not in ready]
                yield from ready

        grid.pull_messages = pulled


@pytest.mark.parametrize("masked", [True, False])
def test_of_twelve_that_are_asked_a_cohort_of_ten_is_summed_and_nobody_is_said_to_have_dropped_out(masked):
    """The ring has room for the cohort and no more: one addend more could turn a large number into its opposite."""
    coordinator = coordinated(grid_of(), masked=masked, cohort=10)
    assert coordinator.run_round().answered == 10
    tally = coordinator.collector.tally
    assert (tally.asked, tally.answered, tally.dropped) == (12, 10, 0)
    assert tally.entered == (10 if masked else 12)
    assert not tally.refused


def test_a_device_that_leaves_before_the_roster_is_closed_costs_nothing():
    coordinator = coordinated(grid_of(drop=lambda node, message: node == FIRST))
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"gone": 1}


def test_a_device_that_falls_silent_after_the_roster_was_closed_is_counted_as_dropped_and_the_sum_is_of_the_others():
    grid = grid_of()
    coordinator = coordinated(grid)
    Holding(grid, {FIRST}, "train.update")
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.shared.hash() == of_all_but(FIRST)
    tally = coordinator.collector.tally
    assert (tally.entered, tally.answered, tally.dropped) == (12, 11, 1)
    assert tally.seconds["updating"] >= 0.1
    assert not tally.refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_silent_device_does_not_hold_a_round_until_its_deadline_once_the_others_suffice(kind):
    grid = grid_of()
    coordinator = coordinated(grid, deadline=600.0, linger=0.2)
    Holding(grid, {FIRST}, kind)
    started = time.monotonic()
    coordinator.run_round()
    assert time.monotonic() - started < 60.0
    assert coordinator.collector.tally.dropped == 1


def test_a_device_that_is_a_little_late_is_in_the_sum():
    """Late ones have as long as the others took, if that is longer than they are waited for by the settings."""
    grid = grid_of()
    coordinator = coordinated(grid, deadline=600.0, linger=20.0)
    holding = Holding(grid, {FIRST}, "train.update")
    pull, looks = grid.pull_messages, []

    def pulled(names):
        looks.append(len(holding.held))
        holding.open = looks.count(1) > 2
        return pull(names)

    grid.pull_messages = pulled
    assert coordinator.run_round().answered == PEOPLE


def test_while_too_few_are_there_for_a_sum_a_round_waits_until_its_deadline():
    grid = grid_of()
    coordinator = coordinated(grid, deadline=1.0, linger=0.01, masks=MASKS, least=3)
    Holding(grid, TOO_MANY, "train.update")
    started = time.monotonic()
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    assert time.monotonic() - started >= 1.0
    assert coordinator.collector.tally.dropped == len(TOO_MANY)


def test_what_comes_too_late_is_discarded_and_counted_once():
    grid = grid_of()
    coordinator = coordinated(grid, masked=False)
    holding = Holding(grid, {FIRST, FIRST + 1}, "train.plain")
    assert coordinator.run_round().answered == PEOPLE - 2
    assert (coordinator.collector.tally.dropped, coordinator.collector.tally.late) == (2, 0)
    holding.open = True
    coordinator.run_round()
    assert coordinator.collector.tally.late == 2
    assert coordinator.collector.tally.answered == PEOPLE
    coordinator.shared = MODEL.init(CROWD.catalogue, 1)
    coordinator.run_round()
    assert coordinator.collector.tally.late == 0


def test_what_comes_two_rounds_late_is_still_taken_off_the_grid():
    grid = grid_of()
    coordinator = coordinated(grid, masked=False)
    holding = Holding(grid, {FIRST}, "train.plain")
    for _ in range(2):
        coordinator.run_round()
    holding.open = True
    coordinator.shared = MODEL.init(CROWD.catalogue, 1)
    coordinator.run_round()
    assert coordinator.collector.tally.late == 2
    assert not holding.held


def test_too_few_devices_that_are_there_end_the_wait_in_time():
    grid = grid_of()
    coordinator = coordinated(grid, enrolled=lambda: dict(list(keys_of(grid).items())[:8]))
    with pytest.raises(CohortTooSmall):
        coordinator.run_round()
    assert coordinator.collector.tally.present == 8
    assert coordinator.collector.tally.asked == 0


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_question_that_cannot_be_sent_to_a_device_of_the_roster_leaves_the_sum_right(kind):
    """Its neighbours masked with its key: were its masks not taken off, the sum would be noise."""
    grid = grid_of()
    coordinator = coordinated(grid)
    push = grid.push_messages

    def lost(messages):
        for message in messages:
            gone = message.metadata.dst_node_id == FIRST and message.metadata.message_type == kind
            yield from [""] if gone else push([message])

    grid.push_messages = lost
    in_sum = kind in ("query.agree", "query.unmask")
    assert coordinator.run_round().answered == PEOPLE - (not in_sum)
    assert coordinator.shared.hash() == (of_all_but() if in_sum else of_all_but(FIRST))
    assert coordinator.collector.tally.refused == {"gone": 1}


def test_every_attempt_has_other_keys_and_another_plan():
    keys: list[bytes] = []
    plans: set[bytes] = set()

    def node(message, context):
        answer = honest(message, context)
        if message.metadata.message_type == "query.enter":
            keys.append(answer.content["parcel"]["keys"])
            plans.add(message.content["parcel"]["plan"])
        return answer

    gone = set(TOO_MANY)
    grid = grid_of(node, drop=lambda node, message: message.metadata.message_type == "train.update" and node in gone)
    coordinator = coordinated(grid, masks=MASKS, least=3)
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    gone.clear()
    coordinator.run_round()
    halves = [half for both in keys for half in (both[:32], both[32:])]
    assert len(plans) == 2
    assert len(set(halves)) == len(halves) == 2 * 2 * PEOPLE


def spoiling(nodes):
    return lambda node, message: node in nodes and message.metadata.message_type == "train.update"


def test_those_that_spoil_every_sum_are_left_out_and_the_federation_goes_on():
    grid = grid_of(drop=spoiling(TOO_MANY))
    coordinator = coordinated(grid, masks=MASKS, least=3)
    outcomes = []
    for _ in range(8):
        coordinator.shared = MODEL.init(CROWD.catalogue, 1)
        try:
            outcomes.append(coordinator.run_round().answered)
        except DevicesLeft:
            outcomes.append(0)
    assert outcomes == [0, 0, 7, 0, 7, 7, 7, 0]


def test_one_that_leaves_every_round_is_waited_for_in_few_of_them():
    grid = grid_of(drop=spoiling({FIRST}))
    coordinator = coordinated(grid)
    entered = []
    for _ in range(8):
        coordinator.shared = MODEL.init(CROWD.catalogue, 1)
        assert coordinator.run_round().answered == PEOPLE - 1
        entered.append(coordinator.collector.tally.entered)
    assert entered == [12, 12, 11, 12, 11, 11, 11, 12]


def test_one_that_dropped_out_once_is_asked_again_at_once():
    gone = {FIRST}
    coordinator = coordinated(grid_of(drop=spoiling(gone)))
    assert coordinator.run_round().answered == PEOPLE - 1
    gone.clear()
    assert coordinator.run_round().answered == PEOPLE


def test_where_no_others_are_left_those_that_spoil_are_asked_again():
    gone = set(TOO_MANY)
    coordinator = coordinated(grid_of(drop=spoiling(gone)), masks=MASKS, least=PEOPLE)
    for _ in range(3):
        with pytest.raises(CohortTooSmall):
            coordinator.run_round()
    gone.clear()
    assert coordinator.run_round().answered == PEOPLE


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_is_revoked_in_the_middle_of_an_exchange_does_not_count_from_there_on(kind):
    grid = grid_of()
    keys = keys_of(grid)

    def revoke(node, message):
        if message.metadata.message_type == kind:
            keys.pop(FIRST, None)
        return False

    grid.drop = revoke
    coordinator = coordinated(grid, enrolled=lambda: keys)
    in_sum = kind in ("query.agree", "query.unmask")
    assert coordinator.run_round().answered == PEOPLE - (not in_sum)
    assert coordinator.shared.hash() == (of_all_but() if in_sum else of_all_but(FIRST))
    assert coordinator.collector.tally.refused == {"revoked": 1}
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.asked == PEOPLE - 1


def test_a_revocation_between_two_looks_at_the_list_is_no_error():
    grid = grid_of()
    keys, looks = keys_of(grid), []

    def enrolled():
        looks.append(1)
        return keys if len(looks) % 2 else {node: key for node, key in keys.items() if node != FIRST}

    coordinator = coordinated(grid, masked=False, enrolled=enrolled)
    assert coordinator.run_round().answered >= PEOPLE - 1
