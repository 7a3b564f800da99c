"""Simulated devices under Flower's runtimes: what each message asks, what is kept between two, and what is refused."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from fedpersona.errors import ConfigError, RoundClosed
from fedpersona.simulation.clientapp import ANNOUNCE, ANNOUNCED, invented
from fedpersona.simulation.local_grid import LocalGrid
from fedpersona.simulation.simulated_device import operator_key, signing_key
from fedpersona.wire.parcel import ASKS
from tests.simulation.test_local_grid import CROWD, PEOPLE, SEED, a_grid, app_of, by_devices, coordinated

KINDS = ("query.enter", "query.share", "train.update", "query.agree", "query.unmask")
NODE = 100


@pytest.fixture(scope="module")
def asked() -> dict[str, Message]:
    """What the first device was asked in one whole round, by kind."""
    found: dict[str, Message] = {}

    def seen(node, message):
        if node == NODE:
            found[message.metadata.message_type] = message
        return False

    coordinated(a_grid(drop=seen)).run_round()
    assert tuple(found) == KINDS
    return found


def ask(grid: LocalGrid, question: Message, **changes: bytes) -> Message:
    """Ask the first device of a grid once more, with some fields changed."""
    content = RecordDict({"parcel": ConfigRecord({**question.content["parcel"], **changes})})
    (reply,) = grid.send_and_receive([Message(content, NODE, question.metadata.message_type)])
    return reply


def test_what_a_round_needs_outlives_each_message_but_not_the_round_and_survives_flowers_own_storage():
    app = app_of(CROWD)
    kept: dict[str, set[bool]] = {kind: set() for kind in KINDS}

    def node(message, context):
        context.state = recorddict_from_proto(recorddict_to_proto(context.state))  # as a stock node does between two
        reply = app(message, context)
        kept[message.metadata.message_type].add(bool(context.state))
        return reply

    grid = LocalGrid.of_one_app(node, PEOPLE)
    over_grid, one_by_one = coordinated(grid), by_devices()
    over_grid.run_round()
    one_by_one.run_round()
    assert over_grid.shared.hash() == one_by_one.shared.hash()
    assert kept == {kind: {kind != "query.unmask"} for kind in KINDS}
    assert not any(grid.context(node_id).state for node_id in grid.get_node_ids())


@pytest.mark.parametrize("kind", KINDS[1:])
def test_who_has_not_entered_answers_no_later_step(kind, asked):
    reply = ask(a_grid(), asked[kind])
    assert reply.has_error()
    assert "has not entered" in reply.error.reason


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_step_is_answered_once_and_asked_again_the_round_is_over_for_the_device(kind):
    app = app_of(CROWD)
    again: list[str] = []

    def node(message, context):
        reply = app(message, context)
        if context.node_id == NODE and message.metadata.message_type == kind:
            with pytest.raises(RoundClosed) as caught:
                app(message, context)
            again.append(str(caught.value))
            assert not context.state
        return reply

    coordinator = coordinated(LocalGrid.of_one_app(node, PEOPLE), least=9)
    assert coordinator.run_round().answered == PEOPLE - (kind == "query.share")
    assert len(again) == 1


@pytest.mark.parametrize("kind", KINDS[2:])
def test_a_step_that_is_skipped_ends_the_round_for_the_device(kind, asked):
    grid = a_grid()
    assert not ask(grid, asked["query.enter"]).has_error()
    assert "another step" in ask(grid, asked[kind]).error.reason
    assert not grid.context(NODE).state


def test_a_question_of_another_round_ends_the_round_for_the_device(asked):
    grid = a_grid()
    ask(grid, asked["query.enter"])
    assert "another round" in ask(grid, asked["query.share"], plan_hash=b"0" * 64).error.reason
    assert not grid.context(NODE).state


def test_a_roster_that_the_operator_did_not_sign_is_not_shared_with(asked):
    grid = a_grid()
    ask(grid, asked["query.enter"])
    reply = ask(grid, asked["query.share"], signature=operator_key(SEED + 1).sign(b"another"))
    assert "not signed by the operator" in reply.error.reason
    assert not grid.context(NODE).state


def test_a_roster_in_which_its_keys_of_this_round_are_not_is_refused(asked):
    """Entered again it has other keys: a roster that was true for the old ones names a stranger."""
    grid = a_grid()
    ask(grid, asked["query.enter"])
    assert "does not stand in the roster" in ask(grid, asked["query.share"]).error.reason


def test_entering_again_takes_other_keys(asked):
    grid = a_grid()
    keys = {ask(grid, asked["query.enter"]).content["parcel"]["keys"] for _ in range(3)}
    assert len(keys) == 3


def test_a_masked_plan_in_a_message_that_asks_for_an_update_without_masks_is_refused(asked):
    parcel = asked["query.enter"].content["parcel"]
    (reply,) = a_grid().send_and_receive([Message(RecordDict({"parcel": parcel}), NODE, "train.plain")])
    assert "asks for masks" in reply.error.reason


def test_a_plan_without_its_model_is_refused(asked):
    fields = {"plan": asked["query.enter"].content["parcel"]["plan"]}
    content = RecordDict({"parcel": ConfigRecord(fields)})
    (reply,) = a_grid().send_and_receive([Message(content, NODE, "query.enter")])
    assert "send it in the message" in reply.error.reason


@pytest.mark.parametrize("kind", ASKS)
def test_a_message_of_another_form_is_refused(kind):
    (reply,) = a_grid().send_and_receive([Message(RecordDict({"parcel": ConfigRecord({"x": b"y"})}), NODE, kind)])
    assert reply.error.reason.startswith("ParcelRefused")


def test_each_says_its_own_public_key_when_it_is_asked():
    grid = a_grid()
    replies = grid.send_and_receive([Message(RecordDict(), node, ANNOUNCE) for node in grid.get_node_ids()])
    keys = [reply.content[ANNOUNCED]["key"] for reply in replies]
    assert keys == [signing_key(SEED, number).public_key().public_bytes_raw() for number in range(PEOPLE)]


@pytest.mark.parametrize("number", [None, -1, 3, "0"])
def test_a_node_without_a_number_of_the_run_is_nobody(number):
    config = {} if number is None else {"partition-id": number}
    context = Context(1, 2, config, RecordDict(), {"people": 3, "items": 20, "seed": 1})
    with pytest.raises(ConfigError, match="from 0 to 2"):
        invented(context)
