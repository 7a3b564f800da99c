"""A small message that would become a large one is refused before it does."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_body
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

from fedpersona.errors import ParcelRefused
from fedpersona.flower.inflation import check_inflation
from fedpersona.flower.unreadable import _guarded

CHUNK = 1 << 16


@pytest.fixture(autouse=True)
def identity():
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, SUPERLINK_NODE_ID


def pieces_of(size: int, repeats: int | None = None) -> tuple[str, dict[str, bytes]]:
    """The pieces of a message with one array; ``repeats`` makes it say its chunk so many times."""
    data = bytes(size)
    array = Array(dtype="uint8", shape=(size,), stype="fedpersona.bytes", data=data)
    message = Message(RecordDict({"arrays": ArrayRecord({"view": array})}), 77, "query.share")
    message.metadata.__dict__["_message_id"] = message.object_id
    pieces = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    if repeats is not None:
        for name, piece in pieces.items():
            if piece.startswith(b"Array "):
                body = json.loads(get_object_body(piece, Array)) | {"arraychunk_ids": [0] * repeats}
                head, _, _ = piece.partition(b"\0")
                fields = head.split(b" ")
                new = json.dumps(body).encode()
                pieces[name] = b" ".join([*fields[:-1], str(len(new)).encode()]) + b"\0" + new
    return message.object_id, pieces


def test_a_message_of_its_size_passes():
    name, pieces = pieces_of(CHUNK)
    check_inflation(pieces, 2 * CHUNK)
    assert len(inflate_object_from_contents(name, dict(pieces)).content["arrays"]["view"].data) == CHUNK


def test_an_array_of_zeros_whose_chunks_are_all_alike_counts_each_of_them():
    size = 45 << 20  # three chunks of Flower's, two of which are one
    _, pieces = pieces_of(size)
    assert sum(map(len, pieces.values())) < size
    check_inflation(pieces, size + CHUNK)
    with pytest.raises(ParcelRefused, match="once it is put together"):
        check_inflation(pieces, size - 1)


@pytest.mark.parametrize("repeats", [3, 1000, 1_000_000])
def test_a_bomb_is_refused_without_the_memory_it_asks_for(repeats):
    name, pieces = pieces_of(CHUNK, repeats)
    ids = [*(one for one in pieces if one != name), name]
    most = max(2 * CHUNK, sum(map(len, pieces.values())))
    tracemalloc.start()
    try:
        with pytest.raises(ParcelRefused, match="once it is put together"):
            check_inflation(pieces, min(most, 2 * CHUNK) if repeats < 1000 else most)
        with pytest.raises(ObjectPullError):
            _guarded(lambda asked: dict(pieces), 2 * CHUNK)(ids)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[1]", b'{"arraychunk_ids": 5}', b'{"arraychunk_ids": [7]}', b'{"arraychunk_ids": ["0"]}'],
)
def test_an_array_of_no_form_is_refused(body):
    _, pieces = pieces_of(CHUNK)
    for name, piece in pieces.items():
        if piece.startswith(b"Array "):
            head, _, _ = piece.partition(b"\0")
            pieces[name] = b" ".join([*head.split(b" ")[:-1], str(len(body)).encode()]) + b"\0" + body
    with pytest.raises(ParcelRefused, match="put together"):
        check_inflation(pieces, 1 << 30)


def test_more_bytes_than_agreed_are_refused_whatever_they_are():
    with pytest.raises(ParcelRefused):
        check_inflation({"one": bytes(11)}, 10)
