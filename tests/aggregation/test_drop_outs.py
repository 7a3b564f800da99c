"""Devices that leave at each of the five exchanges: the sum of the others, to the bit, or a failure with a name.

The model of a round under masks is compared with that of one without, over the devices that are in the sum. After a
failure the next attempt begins with nothing of it.
"""

from __future__ import annotations

import random

import pytest

from fedpersona.aggregation import coordination
from fedpersona.errors import CohortTooSmall, DevicesLeft
from fedpersona.privacy.secagg import Parameters
from tests.aggregation.people import (
    FIRST,
    KINDS,
    MASKS,
    PEOPLE,
    SPARE,
    configured,
    coordinated,
    coordinating,
    grid_of,
    honest,
    of_all_but,
)

IN_SUM = ("query.agree", "query.unmask")
"""Who leaves here has sent an update that counts."""

FAILURES = {
    "query.enter": (CohortTooSmall, "too few devices"),
    "query.share": (CohortTooSmall, "too few devices"),
    "train.update": (DevicesLeft, "devices left"),
    "query.agree": (DevicesLeft, "devices left"),
    "query.unmask": (DevicesLeft, "devices left"),
}
"""What one more than a round can spare ends in, and what the journal says."""


def first(count: int) -> tuple[int, ...]:
    return tuple(range(FIRST, FIRST + count))


def least(kind: str) -> int:
    """Return a smallest sum that only matters where devices leave before there is a roster."""
    return PEOPLE - SPARE if kind == "query.enter" else 3


def leaving(kind: str, gone):
    return lambda node, message: message.metadata.message_type == kind and node in gone


@pytest.mark.parametrize("count", [0, 1, SPARE])
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_leaves_whenever_the_sum_is_of_the_others_to_the_bit(kind, count):
    gone = first(count)
    coordinator = coordinated(grid_of(drop=leaving(kind, gone)), masks=MASKS, least=least(kind))
    in_sum = kind in IN_SUM
    assert coordinator.run_round().answered == PEOPLE - (0 if in_sum else count)
    assert coordinator.shared.hash() == (of_all_but() if in_sum else of_all_but(*gone))
    assert coordinator.collector.tally.refused == ({"gone": count} if count else {})


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_than_a_round_can_spare_is_a_failure_with_a_name_and_the_model_stays(kind):
    coordinator = coordinated(grid_of(drop=leaving(kind, first(SPARE + 1))), masks=MASKS, least=least(kind))
    before = coordinator.shared.hash()
    error, _ = FAILURES[kind]
    with pytest.raises(error):
        coordinator.run_round()
    assert coordinator.shared.hash() == before


def test_devices_may_leave_at_every_exchange_of_one_round():
    gone = {kind: FIRST + place for place, kind in enumerate(KINDS)}
    coordinator = coordinated(
        grid_of(drop=lambda node, message: gone.get(message.metadata.message_type) == node),
        masks=Parameters(10, 6),
        least=3,
    )
    assert coordinator.run_round().answered == PEOPLE - 3
    assert coordinator.shared.hash() == of_all_but(*first(3))


@pytest.mark.parametrize("seed", range(8))
def test_with_few_neighbours_and_any_drop_outs_it_is_the_sum_or_a_failure_with_a_name(seed):
    """Which devices are whose neighbours is drawn anew in every round: what can be spared differs."""
    rng = random.Random(seed)
    gone = {(kind, node): rng.random() < 0.06 for kind in KINDS for node in first(PEOPLE)}
    coordinator = coordinated(
        grid_of(drop=lambda node, message: gone[message.metadata.message_type, node]),
        masks=Parameters(6, 4),
        least=3,
    )
    before = coordinator.shared.hash()
    missing = {node for node in first(PEOPLE) if any(gone[kind, node] for kind in KINDS[:3])}
    try:
        answered = coordinator.run_round().answered
    except (CohortTooSmall, DevicesLeft):
        assert coordinator.shared.hash() == before
    else:
        assert answered == PEOPLE - len(missing)
        assert coordinator.shared.hash() == of_all_but(*missing)


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_failure_the_next_attempt_has_another_serial_plan_and_keys_and_the_journal_says_why(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(coordination.secrets, "randbits", lambda bits: 42)
    keys: list[bytes] = []
    plans: list[bytes] = []
    gone = set(first(SPARE + 1))

    def node(message, context):
        answer = honest(message, context)
        if message.metadata.message_type == "query.enter":
            both = answer.content["parcel"]["keys"]
            keys.extend((both[:32], both[32:]))
            plans.append(message.content["parcel"]["plan"])
        return answer

    def drop(node, message):
        if len(set(plans)) > 1:
            gone.clear()
        return message.metadata.message_type == kind and node in gone

    masks = {"rounds__neighbours": MASKS.neighbours, "rounds__threshold": MASKS.threshold}
    sizes = {"rounds__min_count": least(kind), "rounds__wait_for": PEOPLE - SPARE - 1 if kind != KINDS[0] else PEOPLE}
    config, grid = configured(tmp_path / "server", **masks, **sizes), grid_of(node, drop=drop)
    if kind == KINDS[0]:  # who does not enter sees no plan: they come back once the first attempt has failed
        monkeypatch.setattr(
            coordination.Coordination,
            "_ended",
            lambda self, *said, inner=coordination.Coordination._ended: gone.clear() or inner(self, *said),
        )
    with coordinating(config, grid) as work:
        work.train(grid)
        rounds = work.journal.rounds()[::-1]
        _, outcome = FAILURES[kind]
        assert [(one.round_number, one.attempt, one.outcome) for one in rounds] == [
            (1, 1, outcome),
            (1, 2, "completed"),
            (2, 1, "completed"),
        ]
        assert len({one.serial for one in rounds}) == len(set(plans)) == 3
        assert len(set(keys)) == len(keys) == 2 * len(plans)
        assert work.registry.promoted().hash == undisturbed(tmp_path / "other")


def undisturbed(folder) -> str:
    config, grid = configured(folder), grid_of()
    with coordinating(config, grid) as work:
        work.train(grid)
        return work.registry.promoted().hash
