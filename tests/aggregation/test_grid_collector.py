"""A round over a grid: whom it asks, what it adds up, whom it waits for, and when it gives nothing out."""

from __future__ import annotations

import pytest

from fedpersona.errors import CohortTooSmall, DevicesLeft
from tests.aggregation.people import CROWD, FIRST, MODEL, PEOPLE, coordinated, grid_of, honest, keys_of


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


def test_a_device_that_falls_silent_after_the_roster_was_closed_ends_the_attempt_and_is_counted_as_dropped():
    grid = grid_of()
    coordinator = coordinated(grid)
    Holding(grid, {FIRST}, "train.update")
    with pytest.raises(DevicesLeft, match="1 of 12"):
        coordinator.run_round()
    tally = coordinator.collector.tally
    assert (tally.entered, tally.answered, tally.dropped) == (12, 11, 1)
    assert tally.seconds["updating"] >= 0.3


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


def test_a_question_that_cannot_be_sent_to_a_device_of_the_roster_gives_no_sum():
    """Its neighbours masked with its key: without it the sum would be noise, and would have been promoted."""
    grid = grid_of()
    coordinator = coordinated(grid)
    push = grid.push_messages

    def lost(messages):
        for message in messages:
            gone = message.metadata.dst_node_id == FIRST and message.metadata.message_type == "train.update"
            yield from [""] if gone else push([message])

    grid.push_messages = lost
    before = coordinator.shared.hash()
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    assert coordinator.shared.hash() == before
    assert coordinator.collector.tally.refused == {"gone": 1}


def test_every_attempt_has_other_keys():
    seen: list[bytes] = []

    def node(message, context):
        answer = honest(message, context)
        if message.metadata.message_type == "query.enter":
            seen.append(answer.content["parcel"]["key"])
        return answer

    left = {FIRST}

    def drop(node, message):
        return message.metadata.message_type == "train.update" and node in left and not left.discard(node)

    grid = grid_of(node, drop=drop)
    coordinator = coordinated(grid)
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    coordinator.run_round()
    assert len(set(seen)) == len(seen) == 24


def test_one_that_spoils_every_sum_is_left_out_and_the_federation_goes_on():
    grid = grid_of(drop=lambda node, message: node == FIRST and message.metadata.message_type == "train.update")
    coordinator = coordinated(grid)
    outcomes = []
    for _ in range(8):
        coordinator.shared = MODEL.init(CROWD.catalogue, 1)
        try:
            outcomes.append(coordinator.run_round().answered)
        except DevicesLeft:
            outcomes.append(0)
    assert outcomes == [0, 0, 11, 0, 11, 11, 11, 0]


def test_one_that_dropped_out_once_is_asked_again_at_once():
    gone = {FIRST}
    grid = grid_of(drop=lambda node, message: node in gone and message.metadata.message_type == "train.update")
    coordinator = coordinated(grid)
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    gone.clear()
    assert coordinator.run_round().answered == PEOPLE


def test_where_no_others_are_left_those_that_spoil_are_asked_again():
    gone = {FIRST}
    grid = grid_of(drop=lambda node, message: node in gone and message.metadata.message_type == "train.update")
    coordinator = coordinated(grid, least=PEOPLE)
    for _ in range(3):
        with pytest.raises(DevicesLeft):
            coordinator.run_round()
    gone.clear()
    assert coordinator.run_round().answered == PEOPLE


def test_a_device_that_is_revoked_between_the_exchanges_does_not_count_and_the_round_is_begun_again():
    grid = grid_of()
    keys = keys_of(grid)

    def revoke(node, message):
        if message.metadata.message_type == "train.update":
            keys.pop(FIRST, None)
        return False

    grid.drop = revoke
    coordinator = coordinated(grid, enrolled=lambda: keys)
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    assert coordinator.collector.tally.refused == {"revoked": 1}
    assert coordinator.run_round().answered == PEOPLE - 1


def test_a_revocation_between_two_looks_at_the_list_is_no_error():
    grid = grid_of()
    keys, looks = keys_of(grid), []

    def enrolled():
        looks.append(1)
        return keys if len(looks) % 2 else {node: key for node, key in keys.items() if node != FIRST}

    coordinator = coordinated(grid, masked=False, enrolled=enrolled)
    assert coordinator.run_round().answered >= PEOPLE - 1
