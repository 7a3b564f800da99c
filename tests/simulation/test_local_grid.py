"""A grid in one process: Flower's messages as they are over a SuperLink, and the collector over them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.grid_collector import GridCollector, Pace
from fedpersona.errors import CohortTooSmall, ConfigError, DevicesLeft
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.clientapp import simulated_app
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.local_grid import LocalGrid
from fedpersona.simulation.simulated_device import SimulatedDevice, operator_key, signing_key
from fedpersona.taste import Subspace
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model_file import pack
from tests.conftest import invent

SEED, PEOPLE = 5, 12
MODEL = Subspace(dim=4, rounds=2)
CROWD = invent(PEOPLE)


def app_of(population):
    return simulated_app(
        lambda context: SimulatedDevice.of(population, int(context.node_config["partition-id"]), seed=SEED)
    )


def a_grid(population=CROWD, **said) -> LocalGrid:
    return LocalGrid.of_one_app(app_of(population), len(population), **said)


def keys_of(grid: LocalGrid) -> dict[int, bytes]:
    return {
        node: signing_key(SEED, place).public_key().public_bytes_raw() for place, node in enumerate(grid.get_node_ids())
    }


def coordinated(grid: LocalGrid, *, population=CROWD, masked=True, least=PEOPLE, deadline=5.0, enrolled=None):
    collector = GridCollector(
        grid,
        lambda plan: round_layout(MODEL, population.catalogue, plan),
        key=operator_key(SEED),
        enrolled=enrolled or (lambda: keys_of(grid)),
        pace=Pace(least, 1.0, deadline),
        model_bytes=lambda shared: pack(shared, MODEL.model_dump(mode="json")),
    )
    return Coordinator(
        MODEL,
        population.catalogue,
        collector,
        cohort=len(population),
        min_count=least,
        seed=SEED,
        clip=1.0,
        masked=masked,
    )


def by_devices(population=CROWD, least=PEOPLE, dropped=()) -> Coordinator:
    """The readable form; ``dropped`` people never answer."""

    class Present(Behaviour):
        def reachable(self, seed, round_number, devices):
            everyone = super().reachable(seed, round_number, devices)
            return everyone[[device not in dropped for device in everyone]]

    return Coordinator(
        MODEL,
        population.catalogue,
        DeviceEngine(MODEL, population, Present()),
        cohort=len(population),
        min_count=least,
        seed=SEED,
        clip=1.0,
    )


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def a_question(node: int, value: int = 1) -> Message:
    return Message(RecordDict({"said": ConfigRecord({"value": value})}), node, "query")


# -- messages --


def test_a_reply_says_what_it_answers_and_where_it_comes_from():
    grid = LocalGrid({7: echo})
    question = a_question(7)
    (name,) = grid.push_messages([question])
    (reply,) = grid.pull_messages([name])
    assert name == question.metadata.message_id == reply.metadata.reply_to_message_id
    assert reply.metadata.message_id not in ("", name)
    assert (reply.metadata.src_node_id, reply.metadata.dst_node_id) == (7, SUPERLINK_NODE_ID)
    assert reply.metadata.message_type == "query"


def test_what_a_node_does_to_a_message_or_keeps_of_its_answer_changes_nothing_elsewhere():
    kept = []

    def spoil(message, context):
        message.content["said"]["value"] = 99
        message.metadata.__dict__["_message_id"] = "mine"
        answer = Message(RecordDict({"said": ConfigRecord({"value": 2})}), reply_to=message)
        answer.metadata.__dict__["_reply_to_message_id"] = kept[0]
        kept.append(answer)
        return answer

    grid = LocalGrid({7: lambda message, context: kept.append(message.metadata.message_id) or spoil(message, context)})
    question = a_question(7)
    (name,) = grid.push_messages([question])
    kept[-1].content["said"]["value"] = 3
    (reply,) = grid.pull_messages([name])
    assert question.content["said"]["value"] == 1
    assert reply.content["said"]["value"] == 2


def test_a_reply_is_given_once_and_only_to_who_asks_for_it():
    grid = LocalGrid({7: echo, 8: echo})
    first, second = grid.push_messages([a_question(7), a_question(8)])
    assert [reply.metadata.src_node_id for reply in grid.pull_messages([second])] == [8]
    assert list(grid.pull_messages([second, "no such message"])) == []
    assert len(list(grid.pull_messages([first]))) == 1


def test_a_node_that_fails_answers_with_an_error_and_the_others_go_on():
    def fail(message, context):
        raise ValueError("something of its own")

    grid = LocalGrid({7: fail, 8: lambda message, context: "no message", 9: echo})
    replies = list(grid.send_and_receive([a_question(node) for node in (7, 8, 9)]))
    assert [reply.has_error() for reply in replies] == [True, True, False]
    assert replies[0].error.code == replies[1].error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert replies[0].error.reason == "ValueError: something of its own"
    assert [reply.metadata.src_node_id for reply in replies] == [7, 8, 9]


def test_a_node_that_dropped_out_is_unavailable_and_never_sees_the_message():
    seen = []
    grid = LocalGrid({7: lambda message, context: seen.append(1) or echo(message, context)}, drop=lambda *_: True)
    (reply,) = grid.send_and_receive([a_question(7)])
    assert reply.error.code == ErrorCode.NODE_UNAVAILABLE
    assert not seen


def test_a_message_to_nobody_gets_no_id():
    assert list(LocalGrid({7: echo}).push_messages([a_question(8)])) == [""]


def test_a_node_keeps_its_own_state_between_messages():
    def count(message, context):
        before = context.state.get("count", ConfigRecord({"n": 0}))["n"]
        context.state["count"] = ConfigRecord({"n": before + 1})
        return Message(RecordDict({"count": context.state["count"]}), reply_to=message)

    grid = LocalGrid({7: count, 8: count})
    replies = grid.send_and_receive([a_question(7), a_question(7), a_question(8)])
    assert [reply.content["count"]["n"] for reply in replies] == [1, 2, 1]
    assert grid.context(8).node_config == {"partition-id": 1, "num-partitions": 2}


# -- rounds --


@pytest.mark.parametrize("masked", [True, False])
def test_the_grid_learns_what_the_readable_form_learns_to_the_bit(masked):
    over_grid, one_by_one = coordinated(a_grid(), masked=masked), by_devices()
    for _ in range(MODEL.rounds):
        assert over_grid.run_round().answered == one_by_one.run_round().answered == PEOPLE
        assert over_grid.shared.hash() == one_by_one.shared.hash()


def test_clipping_is_part_of_the_round():
    free = by_devices()
    free.clip = None
    free.run_round()
    bound = by_devices()
    bound.run_round()
    assert free.shared.hash() != bound.shared.hash()


def test_the_fast_form_refuses_a_plan_whose_clipping_it_would_not_do():
    plan = by_devices().plan(1)
    with pytest.raises(ConfigError, match="does not clip"):
        CohortEngine(MODEL, CROWD, Behaviour()).collect(plan, by_devices().shared)


def test_without_masks_the_sum_is_of_those_that_answered():
    grid = a_grid(drop=lambda node, message: node in (101, 104))
    over_grid, one_by_one = coordinated(grid, masked=False, least=2), by_devices(least=2, dropped=(1, 4))
    assert over_grid.run_round().answered == one_by_one.run_round().answered == PEOPLE - 2
    assert over_grid.shared.hash() == one_by_one.shared.hash()
    assert over_grid.collector.tally.refused == {"gone": 2}


def left_at(kind: str, gone: set[int]):
    return lambda node, message: node in gone and message.metadata.message_type == kind


@pytest.mark.parametrize("kind", ["query.share", "train.update"])
def test_a_device_that_leaves_after_the_roster_is_closed_leaves_the_exact_sum_of_the_others(kind):
    over_grid, one_by_one = coordinated(a_grid(drop=left_at(kind, {103})), least=9), by_devices(least=9, dropped=(3,))
    assert over_grid.run_round().answered == one_by_one.run_round().answered == PEOPLE - 1
    assert over_grid.shared.hash() == one_by_one.shared.hash()


@pytest.mark.parametrize("kind", ["query.agree", "query.unmask"])
def test_a_device_that_leaves_after_its_update_is_in_the_sum(kind):
    over_grid, one_by_one = coordinated(a_grid(drop=left_at(kind, {103})), least=9), by_devices()
    assert over_grid.run_round().answered == one_by_one.run_round().answered == PEOPLE
    assert over_grid.shared.hash() == one_by_one.shared.hash()


def test_where_too_many_leave_the_attempt_fails_by_name_and_the_next_one_succeeds():
    gone = {103, 104, 105, 106}
    coordinator = coordinated(a_grid(drop=left_at("train.update", gone)), least=8)
    before = coordinator.shared.hash()
    with pytest.raises(DevicesLeft):
        coordinator.run_round()
    assert coordinator.shared.hash() == before
    gone.clear()
    coordinator.run_round()
    one_by_one = by_devices()
    one_by_one.run_round()
    assert coordinator.shared.hash() == one_by_one.shared.hash()


def test_too_few_devices_release_nothing():
    coordinator = coordinated(a_grid(drop=lambda node, message: node < 104), least=9)
    before = coordinator.shared.hash()
    with pytest.raises(CohortTooSmall):
        coordinator.run_round()
    assert coordinator.shared.hash() == before


def _signed_by_another(reply: Message) -> Message:
    other = SimulatedDevice.of(CROWD, 1, seed=SEED + 1)
    reply.content["parcel"]["signature"] = other.key.sign(b"something")
    return reply


def _from_another(reply: Message) -> Message:
    reply.metadata.__dict__["_src_node_id"] = 105
    return reply


def _of_another_kind(reply: Message) -> Message:
    reply.metadata.message_type = "query.enter"
    return reply


def _with_another_record(reply: Message) -> Message:
    reply.content["more"] = ConfigRecord({"value": 1})
    return reply


def _refused(reply: Message) -> Message:
    question = replace_metadata(reply)
    return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "declined"), reply_to=question)


def replace_metadata(reply: Message) -> Message:
    """Return a question that an answer of this reply's would be to."""
    question = Message(RecordDict(), reply.metadata.src_node_id, reply.metadata.message_type)
    question.metadata.__dict__["_message_id"] = reply.metadata.reply_to_message_id
    return question


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_signed_by_another, "unsigned"),
        (_from_another, "stale"),
        (_of_another_kind, "stale"),
        (_with_another_record, "shape"),
        (_refused, "declined"),
    ],
)
def test_an_answer_that_is_not_what_was_agreed_does_not_count_and_has_its_reason(spoil, reason):
    app = app_of(CROWD)

    def node(message, context):
        reply = app(message, context)
        return spoil(reply) if context.node_id == 100 else reply

    grid = LocalGrid.of_one_app(node, PEOPLE)
    coordinator = coordinated(grid, masked=False, least=2)
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {reason: 1}
    one_by_one = by_devices(least=2, dropped=(0,))
    one_by_one.run_round()
    assert coordinator.shared.hash() == one_by_one.shared.hash()


def test_a_device_that_is_revoked_during_a_round_does_not_count_in_it():
    grid = a_grid()
    keys = keys_of(grid)

    def revoke(node, message):
        if node == 111:  # all have answered by then, none was counted yet
            keys.pop(103, None)
        return False

    grid.drop = revoke
    coordinator = coordinated(grid, masked=False, least=2, enrolled=lambda: keys)
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"revoked": 1}


def test_a_plan_of_another_operator_is_refused():
    grid = a_grid()
    coordinator = coordinated(grid, masked=False, least=2)
    coordinator.collector._key = operator_key(SEED + 1)
    with pytest.raises(CohortTooSmall):
        coordinator.run_round()
    assert coordinator.collector.tally.answered == 0


def test_a_plan_whose_model_is_another_is_refused():
    grid = a_grid()
    coordinator = coordinated(grid, masked=False, least=2)
    other = MODEL.init(CROWD.catalogue, SEED + 1)
    coordinator.collector._model_bytes = lambda shared: pack(other, {})
    with pytest.raises(CohortTooSmall):
        coordinator.run_round()


def test_a_round_that_only_names_itself_otherwise_learns_the_same():
    """Serial, federation and times of a plan are not part of what is learned."""
    stamped = coordinated(a_grid())
    stamped._stamp = lambda plan: replace(plan, serial=77, federation="Other people")
    stamped.run_round()
    one_by_one = by_devices()
    one_by_one.run_round()
    assert stamped.shared.hash() == one_by_one.shared.hash()
