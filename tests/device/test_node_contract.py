"""The node's contract with Flower 1.42, held against a real SuperLink; what it leans on is named, one thing a line."""

import hashlib
import importlib
import inspect
import json
import os
import threading
import time
from pathlib import Path

import pytest

from fedpersona.aggregation import bundle
from fedpersona.aggregation.certificates import authority_der
from fedpersona.device.background import Stop
from fedpersona.device.https import Https
from fedpersona.device.identity import Identity
from fedpersona.device.node import Node
from fedpersona.errors import EnrolmentRefused, ParcelRefused, RoundClosed, ServerUnreachable, Stopped
from tests.superlinks import free_port, running, superlink_at

UPDATE = os.urandom(1 << 16) * 400  # 26 MB: more than one chunk


# -- what changed, by name --


FIELDS = {
    "fleet_pb2.ActivateNodeRequest": {"public_key": 1, "heartbeat_interval": 2},
    "fleet_pb2.ActivateNodeResponse": {"node_id": 1},
    "fleet_pb2.DeactivateNodeRequest": {"node_id": 1},
    "fleet_pb2.PullMessagesRequest": {"node": 1},
    "fleet_pb2.PullMessagesResponse": {"messages_list": 2, "message_object_trees": 3},
    "fleet_pb2.PushMessagesRequest": {"node": 1, "messages_list": 2, "message_object_trees": 3},
    "fleet_pb2.PushMessagesResponse": {"objects_to_push": 3, "session_id": 4},
    "heartbeat_pb2.SendNodeHeartbeatRequest": {"node": 1, "heartbeat_interval": 2},
    "heartbeat_pb2.SendNodeHeartbeatResponse": {"success": 1},
    "message_pb2.PullObjectRequest": {"node": 1, "run_id": 2, "object_id": 3},
    "message_pb2.PullObjectResponse": {"object_found": 1, "object_available": 2, "object_content": 3},
    "message_pb2.PushObjectRequest": {"node": 1, "run_id": 2, "object_id": 3, "object_content": 4, "session_id": 5},
    "message_pb2.PushObjectResponse": {"stored": 1},
    "message_pb2.ConfirmMessageReceivedRequest": {"node": 1, "run_id": 2, "message_object_id": 3},
    "node_pb2.Node": {"node_id": 1},
}

PARAMETERS = {
    "flwr.app.message.remove_content_from_message": ["message"],
    "flwr.common.serde.message_from_proto": ["message_proto"],
    "flwr.common.serde.message_to_proto": ["message"],
    "flwr.supercore.inflatable.inflatable_object.get_all_nested_objects": ["obj"],
    "flwr.supercore.inflatable.inflatable_object.get_object_tree": ["obj"],
    "flwr.supercore.inflatable.inflatable_object.iterate_object_tree": ["tree"],
    "flwr.supercore.inflatable.inflatable_utils.validate_object_content": ["content"],
}

PATHS = (
    "activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages", "push-object",
    "pull-object", "confirm-message-received",
)  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_flowers_messages_have_the_fields_that_the_node_uses(name):
    module, _, message = name.partition(".")
    found = getattr(importlib.import_module(f"flwr.proto.{module}"), message).DESCRIPTOR.fields_by_name
    changed = {
        field: number for field, number in FIELDS[name].items() if getattr(found.get(field), "number", 0) != number
    }
    assert not changed, f"Flower changed {name}: {changed} is not as it was in 1.42; mend fedpersona/device/node.py"


@pytest.mark.parametrize("name", PARAMETERS)
def test_flowers_functions_are_called_as_before(name):
    module, _, function = name.rpartition(".")
    found = getattr(importlib.import_module(module), function, None)
    assert found is not None, f"Flower has no {name} any more; mend fedpersona/device/node.py"
    assert list(inspect.signature(found).parameters) == PARAMETERS[name], f"Flower changed how {name} is called"


@pytest.mark.parametrize("path", PATHS)
def test_flowers_server_has_the_paths_that_the_node_calls(path):
    from flwr.superlink.routers.fleet.router import router

    assert f"/v1/fleet/{path}" in {route.path for route in router.routes}, f"Flower moved /v1/fleet/{path}"


def test_flowers_names_for_a_nodes_proof_are_as_before():
    from flwr.common import constant as common
    from flwr.supercore import constant

    found = (constant.FLEET_HTTP_PUBLIC_KEY_HEADER, common.TIMESTAMP_HEADER, constant.FLEET_HTTP_SIGNATURE_HEADER)
    assert found == ("flwr-public-key", "flwr-timestamp", "flwr-signature"), "Flower renamed a header of node_auth"
    assert common.HEARTBEAT_MIN_INTERVAL <= 60 <= common.HEARTBEAT_MAX_INTERVAL


# -- against a real SuperLink --


class Watched(Https):
    """Keeps which paths were called."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.paths: list[str] = []

    def post(self, path: str, *args: object, **settings: object):
        self.paths.append(path.rpartition("/")[2])
        return super().post(path, *args, **settings)


@pytest.fixture(scope="module")
def superlink(tmp_path_factory):
    where = superlink_at(tmp_path_factory.mktemp("superlink"))
    with running(where) as control:
        yield where, control


def enrolled(superlink):
    where, control = superlink
    made = Identity(f"https://{where.address}", "test", bytes(32)).with_keys()
    return made, control.register_node(made.flower_public_key)


def node_of(superlink, made, node_id, stop=None):
    way = Watched(made.server, authority_der(superlink[0].authority), stop)
    return Node(way, node_id, made.flower_key, stop or Stop()), way


def bundled(monkeypatch) -> bytes:
    text = Path(__file__).with_name("contract_app.py").read_text(encoding="utf-8")
    monkeypatch.setattr(bundle, "_MODULE", text)
    return bundle.server_bundle()


ANSWERS = {
    "query.enter": {"keys": b"k" * 64, "signature": b"s" * 64},
    "query.share": {"sealed": b"e" * 6432, "signature": b"s" * 64},
    "train.update": {"update": UPDATE, "signature": b"s" * 64},
    "query.agree": {"signature": b"s" * 64},
    "query.unmask": {"shares": b"u" * 2570, "signature": b"s" * 64},
}


def answer_all(node: Node, stop: Stop) -> None:
    while not stop.wished:
        try:
            ask = node.pull()
        except ParcelRefused:
            continue
        if ask is None:
            stop.wait(0.05)
        else:
            node.answer(ask, ANSWERS[ask.parcel.kind])


def test_a_whole_life_of_a_node_at_a_real_superlink(superlink, tmp_path, monkeypatch):
    made, node_id = enrolled(superlink)
    node, way = node_of(superlink, made, node_id)
    run = superlink[1].start_run(bundled(monkeypatch), {"server": str(tmp_path / "heard.json")})
    stop = Stop()
    thread = threading.Thread(target=answer_all, args=(node, stop))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not superlink[1].runs()[run].over and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join(10)
    node.leave()
    way.close()
    state = superlink[1].runs()[run]
    assert state.outcome == "completed", state
    heard = json.loads((tmp_path / "heard.json").read_text())
    for kind, fields in ANSWERS.items():
        assert heard.pop(kind.partition(".")[2]) == {
            "type": kind,
            "source": node_id,
            "fields": {name: [len(value), hashlib.sha256(value).hexdigest()] for name, value in fields.items()},
        }
    assert heard == {name: {"error": "form"} for name in heard}  # and nothing else was answered
    assert len(heard) == 14
    assert set(way.paths) <= set(PATHS)  # the bundle was never asked for
    assert way.paths.count("push-object") >= 6 + 5


def test_a_node_that_the_superlink_does_not_know_is_told_in_one_sentence(superlink):
    made = Identity(f"https://{superlink[0].address}", "test", bytes(32)).with_keys()
    node, way = node_of(superlink, made, 12345)
    with pytest.raises((EnrolmentRefused, RoundClosed)):
        node.activate()
    way.close()


def test_a_node_cannot_speak_for_another(superlink):
    first, first_id = enrolled(superlink)
    second, second_id = enrolled(superlink)
    honest, way = node_of(superlink, first, first_id)
    honest.activate()
    cloned, other = node_of(superlink, second, second_id)
    cloned.activate()
    cloned._node.node_id = first_id
    with pytest.raises(EnrolmentRefused):
        cloned.pull()
    assert honest.pull() is None
    for one in (way, other):
        one.close()


def test_a_node_whose_goodbye_was_lost_is_active_again_at_once(superlink):
    made, node_id = enrolled(superlink)
    for _ in range(2):
        node, way = node_of(superlink, made, node_id)
        node.activate()
        assert node.pull() is None
        way.close()  # killed: it says nothing


def test_a_node_that_was_stopped_says_goodbye_on_another_way(superlink):
    made, node_id = enrolled(superlink)
    stop = Stop()
    node, way = node_of(superlink, made, node_id, stop)
    node.activate()
    stop.set()
    began = time.monotonic()
    with Https(made.server, authority_der(superlink[0].authority)) as last:
        node.leave(0.5, last)
    assert time.monotonic() - began < 0.5
    way.close()
    again, other = node_of(superlink, made, node_id)
    again.activate()  # Flower activates what it does not take for active: no error, no beat
    assert other.paths == ["activate-node"]
    other.close()


def test_a_device_whose_clock_is_a_day_off_hears_that_it_is_the_clock(superlink, monkeypatch):
    import datetime as real

    from fedpersona.device import node as module
    from fedpersona.errors import ClockUnsure

    class Tomorrow(real.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + real.timedelta(days=1)

    made, node_id = enrolled(superlink)
    node, way = node_of(superlink, made, node_id)
    monkeypatch.setattr(module, "datetime", Tomorrow)
    with pytest.raises(ClockUnsure, match="hours apart"):
        node.activate()
    way.close()


def test_a_revoked_node_is_refused_at_once(superlink):
    made, node_id = enrolled(superlink)
    node, way = node_of(superlink, made, node_id)
    node.activate()
    superlink[1].unregister_node(node_id)
    with pytest.raises(EnrolmentRefused):
        node.pull()
    way.close()


def test_registering_the_same_key_again_gives_the_same_node(superlink):
    made, node_id = enrolled(superlink)
    assert superlink[1].register_node(made.flower_public_key) == node_id


def test_a_node_without_a_server_tries_again_and_stops_in_under_a_second(superlink):
    made, node_id = enrolled(superlink)
    stop = Stop()
    way = Https(f"https://127.0.0.1:{free_port()}", authority_der(superlink[0].authority), stop)
    node = Node(way, node_id, made.flower_key, stop)
    began = time.monotonic()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises((Stopped, ServerUnreachable)):
        node.activate()
    assert time.monotonic() - began < 1.3
    way.close()
