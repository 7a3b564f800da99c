"""Whatever one device answers, it has a named reason, is not in the sum, and the round of the others goes on."""

from __future__ import annotations

import gzip
import io
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError
from flwr.superlink.grid import http_grid

from fedpersona.aggregation.certificates import authority_der
from fedpersona.aggregation.exchange import refusal_reason
from fedpersona.device.background import Stop
from fedpersona.device.https import Https
from fedpersona.device.identity import Identity
from fedpersona.device.node import Node
from fedpersona.errors import SumSpoilt
from fedpersona.flower.unreadable import UNREADABLE, _guarded, guard_replies
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.simulated_device import signing_key
from fedpersona.wire.message import word_type
from fedpersona.wire.parcel import sign_reply
from tests.aggregation.people import (
    CROWD,
    FIRST,
    MODEL,
    PEOPLE,
    SEED,
    coordinated,
    grid_of,
    lying,
    of_all_but,
    plan_of,
)
from tests.superlinks import running, superlink_at


def with_update(change):
    """Change the bytes of the update, and sign what came of it as the device would."""

    def spoil(message: Message, answer: Message) -> Message:
        body = change(answer.content["parcel"]["update"])
        signed = sign_reply(message.metadata.message_type, plan_of(message), body, signing_key(SEED, 0))
        answer.content["parcel"] = ConfigRecord({"update": body, "signature": signed})
        return answer

    return spoil


def words_as(kind: str):
    """Replace the words by numbers of another form; the header stays."""

    def change(data: bytes) -> bytes:
        start = data.index(b"\n", len(b"fedpersona update 1\n")) + 1
        return data[:start] + np.frombuffer(data[start:], "<u4").astype(kind).tobytes()

    return change


def floats(value: float):
    """Fill the model's own part; the last word counts the device."""

    def change(data: bytes) -> bytes:
        start = data.index(b"\n", len(b"fedpersona update 1\n")) + 1
        spelt = np.full((len(data) - start) // 8, value).tobytes()
        own = len(data) - start - 4
        return data[:start] + spelt[:own].ljust(own, b"\0") + data[-4:]

    return change


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


class Bomb:
    def __reduce__(self):
        return (threading.main_thread().__class__, ())


NPY_BOMB = npy(np.zeros(1)).replace(b"(1,)", b"(9999999999,)")

SPOILT = {
    "empty but for a byte": lambda data: b"x",
    "one byte short": lambda data: data[:-1],
    "one byte long": lambda data: data + b"\0",
    "another plan": lambda data: data.replace(b'"plan": "', b'"plan": "f', 1)[: len(data)],
    "no header": lambda data: data[64:],
    "double words": words_as("<u8"),
    "float words": words_as("<f8"),
    "half words": words_as("<u2"),
    "NaN": lambda data: np.full(len(data) // 8, np.nan).tobytes(),
    "Inf": lambda data: np.full(len(data) // 8, np.inf).tobytes(),
    "denormal": lambda data: np.full(len(data) // 8, 5e-324).tobytes(),
    "1e30": lambda data: np.full(len(data) // 8, 1e30).tobytes(),
    "zeros": lambda data: bytes(len(data)),
    "an npy file": lambda data: npy(np.zeros(len(data) // 8)),
    "an npy header bomb": lambda data: NPY_BOMB,
    "a pickle": lambda data: pickle.dumps(Bomb()),
    "a gzip bomb": lambda data: gzip.compress(bytes(1 << 20)),
}


@pytest.mark.parametrize("name", SPOILT)
def test_an_update_of_another_form_is_refused_and_the_others_are_summed(name, monkeypatch):
    monkeypatch.setattr(pickle, "loads", _never)
    monkeypatch.setattr(np, "load", _never)
    coordinator = coordinated(lying(with_update(SPOILT[name]), "train.plain"), masked=False)
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"shape": 1}
    assert coordinator.shared.hash() == of_all_but(FIRST)


def _never(*_: object, **__: object) -> None:
    raise AssertionError("what a device sent was parsed")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 5e-324, -0.0])
def test_words_that_spell_floats_are_integers_of_the_ring_like_any_other(value):
    """There is no NaN in a ring: the model stays finite, whatever bits a device sends."""
    coordinator = coordinated(lying(with_update(floats(value)), "train.plain"), masked=False)
    assert coordinator.run_round().answered == PEOPLE
    assert all(np.isfinite(array).all() for array in coordinator.shared.arrays.values())


@pytest.mark.parametrize("masked", [True, False])
def test_a_device_that_counts_itself_as_several_or_none_spoils_the_sum_by_name_and_the_model_stays(masked):
    kind = "train.update" if masked else "train.plain"

    def change(data: bytes) -> bytes:
        return data[:-4] + bytes(4)

    coordinator = coordinated(lying(with_update(change), kind), masked=masked)
    before = coordinator.shared.hash()
    with pytest.raises(SumSpoilt, match="does not count as many"):
        coordinator.run_round()
    assert coordinator.shared.hash() == before


def test_what_one_lying_device_can_add_is_bounded_by_the_ring():
    """A lying device can spoil a sum, but not beyond the ring: no entry is larger than what the cohort could add."""
    layout = MODEL.layout(CROWD.catalogue, 1)
    fixed = FixedPoint(layout, PEOPLE, 32)
    worst = fixed.decode_words(np.full(layout.size, 2**31, word_type(32)))
    for spec in layout.arrays:
        assert np.abs(worst[spec.name]).max() <= 2.1 * 2 * PEOPLE * spec.bound


def replaced(**records):
    def spoil(message: Message, answer: Message) -> Message:
        return Message(RecordDict(records), reply_to=message)

    return spoil


def _no_fields(message: Message, answer: Message) -> Message:
    del answer.content["parcel"]
    return answer


def _no_update(message: Message, answer: Message) -> Message:
    del answer.content["parcel"]["update"]
    return answer


def _array(data: bytes, stype: str = "numpy.ndarray", shape=(4,), dtype: str = "float64"):
    def spoil(message: Message, answer: Message) -> Message:
        del answer.content["parcel"]["update"]
        answer.content["arrays"] = ArrayRecord({"update": Array(dtype=dtype, shape=shape, stype=stype, data=data)})
        return answer

    return spoil


def _more(name, record):
    def spoil(message: Message, answer: Message) -> Message:
        answer.content[name] = record
        return answer

    return spoil


RECORDS = {
    "nothing at all": replaced(),
    "no fields": _no_fields,
    "no update": _no_update,
    "one record more": _more("more", ConfigRecord({"x": 1})),
    "metrics instead": _more("parcel", MetricRecord({"signature": 1.0})),
    "arrays that are no arrays": _more("arrays", ConfigRecord({"update": b"x"})),
    "a signature that is a text": _more("parcel", ConfigRecord({"signature": "x" * 64})),
    "a signature too short": _more("parcel", ConfigRecord({"signature": b"x" * 63})),
    "a numpy array": _array(npy(np.zeros(4))),
    "an npy header bomb": _array(NPY_BOMB),
    "a pickle": _array(pickle.dumps(Bomb())),
    "a length that lies": _array(b"x" * 10, "fedpersona.bytes", (1 << 40,), "uint8"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_other_records_than_were_agreed_are_refused_and_never_parsed(name, monkeypatch):
    monkeypatch.setattr(pickle, "loads", _never)
    monkeypatch.setattr(np, "load", _never)
    coordinator = coordinated(lying(RECORDS[name], "train.plain"), masked=False)
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"shape": 1}


def test_an_answer_of_another_device_is_unsigned():
    def spoil(message: Message, answer: Message) -> Message:
        body = answer.content["parcel"]["update"]
        answer.content["parcel"]["signature"] = sign_reply("train.plain", plan_of(message), body, signing_key(SEED, 3))
        return answer

    coordinator = coordinated(lying(spoil, "train.plain"), masked=False)
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"unsigned": 1}


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64])
def test_an_answer_without_a_true_signature_is_unsigned(signature):
    def spoil(message: Message, answer: Message) -> Message:
        answer.content["parcel"]["signature"] = signature
        return answer

    coordinator = coordinated(lying(spoil, "query.enter"))
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"unsigned": 1}


def test_an_answer_that_was_true_in_an_earlier_round_is_not_in_this_one():
    kept: list[Message] = []

    def spoil(message: Message, answer: Message) -> Message:
        kept.append(answer)
        return Message(kept[0].content, reply_to=message)

    coordinator = coordinated(lying(spoil, "train.plain"), masked=False)
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"unsigned": 1}  # the signature is bound to the plan


def test_a_second_answer_of_a_device_is_a_double_and_one_to_no_question_is_stale():
    grid = grid_of()
    pull = grid.pull_messages

    def pulled(names):
        replies = list(pull(names))
        yield from replies
        yield from replies[:2]
        if replies:
            replies[0].metadata.__dict__["_reply_to_message_id"] = "f" * 64
            yield replies[0]

    grid.pull_messages = pulled
    coordinator = coordinated(grid, masked=False, cohort=PEOPLE + 1)
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.collector.tally.refused == {"double": 2, "stale": 1}


# -- what Flower's grid makes of a reply before it comes here --


def pieces_of(message: Message) -> tuple[list[str], dict[str, bytes]]:
    found = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    return sorted(found, key=lambda name: name == message.object_id), found


def a_reply() -> Message:
    question = Message(RecordDict(), FIRST, "train.plain")
    return Message(RecordDict({"parcel": ConfigRecord({"signature": b"x"})}), reply_to=question)


def garbage(pieces: dict[str, bytes], name: str) -> None:
    head, _, body = pieces[name].partition(b"\0")
    pieces[name] = head + b"\0" + b"\xff" * len(body)


def test_a_whole_reply_passes_as_it_came():
    names, pieces = pieces_of(a_reply())
    assert _guarded(lambda ids: dict(pieces), 1 << 30)(names) == pieces


@pytest.mark.parametrize("spoil", ["root", "child", "missing", "not a message", "no form"])
def test_a_reply_whose_pieces_make_no_message_is_one_that_could_not_be_pulled_and_not_the_end_of_the_run(spoil):
    names, pieces = pieces_of(a_reply())
    if spoil in ("root", "child"):
        garbage(pieces, names[-1] if spoil == "root" else names[0])
    if spoil == "missing":
        del pieces[names[0]]
    if spoil == "not a message":
        names = names[:-1]
    if spoil == "no form":
        pieces[names[0]] = b"no form"
    with pytest.raises(ObjectPullError, match=UNREADABLE):
        _guarded(lambda ids: dict(pieces), 1 << 30)(names)


def test_such_a_reply_has_the_reason_shape():
    code = ErrorCode.MESSAGE_UNAVAILABLE
    assert refusal_reason(SimpleNamespace(error=SimpleNamespace(code=code, reason=f"... {UNREADABLE}"))) == "shape"
    assert refusal_reason(SimpleNamespace(error=SimpleNamespace(code=code, reason="not there"))) == "gone"


def test_flowers_own_grid_of_this_process_is_guarded_once():
    guard_replies(1 << 20)
    first = vars(http_grid)["pull_objects"]
    guard_replies(1 << 30)
    again = vars(http_grid)["pull_objects"]
    assert again.guarded is first.guarded, "Flower's own, and not the guard of before"


GARBAGE = [b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f", b"\x80\x04.", b"", gzip.compress(bytes(1 << 20))]


def test_garbage_in_place_of_flowers_messages_leaves_a_real_superlink_as_it_was(tmp_path):
    """A device that is enrolled sends bytes that are no message to each door; another one is served all the same."""
    where = superlink_at(tmp_path)
    with running(where) as control:
        nodes = []
        for _ in range(2):
            made = Identity(f"https://{where.address}", "test", bytes(32)).with_keys()
            stop = Stop()
            way = Https(made.server, authority_der(where.authority), stop)
            nodes.append((Node(way, control.register_node(made.flower_public_key), made.flower_key, stop), way))
        (liar, _), (good, _) = nodes
        liar.activate()
        for door in ("pull-messages", "push-messages", "push-object", "pull-object", "send-node-heartbeat"):
            for body in GARBAGE:
                answer = liar._post(door, body, 10.0)
                assert not answer.ok or door in ("pull-messages", "send-node-heartbeat"), (door, body[:5])
        good.activate()
        assert good.pull() is None
        for node, way in nodes:
            node.leave()
            way.close()
