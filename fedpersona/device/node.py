"""The one adapter to Flower's node protocol: a node inside this process that runs nothing a server sent.

It speaks Flower's Fleet API over our own HTTPS, so it never follows a redirect, unpacks an answer, signals the
process or exits it, as Flower's own client may. It never asks for an app bundle. It takes the messages of
:mod:`fedpersona.wire.parcel` and nothing else; whatever does not fit is answered with a reason and dropped.

What of Flower it uses is internal there: the protocol's messages, and how objects are cut into pieces. The version
is pinned, and ``tests/device/test_node_contract.py`` names what changed when it changes.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents, validate_object_content
from flwr.supercore.version import package_name, package_version
from google.protobuf.message import DecodeError

from fedpersona.device.background import Stop
from fedpersona.device.https import Answer, Https
from fedpersona.errors import ClockUnsure, EnrolmentRefused, ParcelRefused, RoundClosed, ServerUnreachable
from fedpersona.flower import parcel_from, records_from
from fedpersona.flower.inflation import check_inflation
from fedpersona.wire.parcel import ASKS, REFUSALS, REPLIES, Parcel

__all__ = ["Ask", "Node"]

_Proto = TypeVar("_Proto", bound=Any)

HEARTBEAT = 60.0  # seconds; after two without one a server takes the node for gone
_MEDIA = "application/protobuf"
_MOST_OBJECTS = 64
_LARGEST_PIECE = 24 << 20  # bytes; Flower cuts at 20 MiB
_LARGEST_MESSAGE = 256 << 20  # bytes of all pieces, and of what they make
_BESIDE = 1 << 16  # bytes of a message beside its fields
_LARGEST_ANSWER = 1 << 20  # bytes of an answer that carries no piece
_TRIES = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_PATIENCE = 30.0  # seconds to wait for a piece that another message still uploads
_SKEW = 120.0  # seconds that two clocks may differ before it is named as the reason of a refusal


@dataclass(frozen=True)
class Ask:
    """A message of the server's that waits for its one answer."""

    parcel: Parcel
    head: Message = field(repr=False)
    """Flower's own message, without its content: an answer refers to it."""


class Node:
    """One device as a Flower node.

    Args:
        https: the way to the front.
        node_id: what the server calls this device.
        key: the EC private key (PEM) whose public part was enrolled.
        stop: the app's wish to stop.
    """

    def __init__(self, https: Https, node_id: int, key: bytes, stop: Stop) -> None:
        self._https = https
        self._stop = stop
        self._node = NodeProto(node_id=node_id)
        self._key = _ec_key(key)
        self._public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._active = False
        self._beat_at = 0.0

    def __repr__(self) -> str:
        return f"Node({self._https!r})"

    def activate(self) -> None:
        """Say that this node is there. Called again it does nothing.

        Raises:
            EnrolmentRefused: the server does not know this device, or has revoked it.
            ClockUnsure: this device's clock and the server's differ too much.
            ServerUnreachable: it does not answer.
        """
        if self._active:
            return
        request = fleet_pb2.ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT)
        try:
            found = self._call("activate-node", request, fleet_pb2.ActivateNodeResponse())
        except RoundClosed:  # Flower activates no node that it takes for active, as after a lost goodbye
            if not self._send_beat():
                raise
        else:
            if found.node_id != self._node.node_id:
                raise EnrolmentRefused(
                    "the server calls this device by another number than at enrolment: enrol it again"
                )
        self._active = True
        self._beat_at = time.monotonic()

    def beat(self) -> None:
        """Say that this node is still there, where it is time to; activate it where the server has forgotten."""
        self.activate()
        if time.monotonic() >= self._beat_at + HEARTBEAT * random.uniform(0.5, 0.8):  # noqa: S311 - not all at once
            self._active = self._send_beat()
            self._beat_at = time.monotonic()

    def _send_beat(self) -> bool:
        request = heartbeat_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
        return bool(self._call("send-node-heartbeat", request, heartbeat_pb2.SendNodeHeartbeatResponse()).success)

    def leave(self, seconds: float = 1.0, way: Https | None = None) -> None:
        """Say goodbye, waiting at most so long. What was not confirmed before may be lost with it.

        Args:
            seconds: most that it may take.
            way: another way to the front, where this node's own was given up.
        """
        if self._active:
            self._active = False
            request = fleet_pb2.DeactivateNodeRequest(node_id=self._node.node_id)
            self._post("deactivate-node", request.SerializeToString(), seconds, way=way)

    def pull(self) -> Ask | None:
        """Take the next message, None where none waits.

        Raises:
            ParcelRefused: one came that is not of the agreed form; the server was told so.
        """
        self.beat()
        found = self._call(
            "pull-messages",
            fleet_pb2.PullMessagesRequest(node=self._node),
            fleet_pb2.PullMessagesResponse(),
            tries=1,  # a message is given out once
        )
        if not found.messages_list:
            return None
        head = self._head(found)
        try:
            ask = Ask(self._parcel(head, found.message_object_trees), head)
        except ParcelRefused:
            self._push(Message(_error("form"), reply_to=head))
            raise
        finally:
            self._confirm(head)
        return ask

    def answer(self, ask: Ask, fields: Mapping[str, bytes]) -> None:
        """Send the one answer to a message.

        Raises:
            RoundClosed: the server takes no answer to it any more.
        """
        kind = ask.parcel.kind
        self._push(Message(records_from(kind, fields, REPLIES), reply_to=ask.head))

    def refuse(self, ask: Ask, code: str) -> None:
        """Answer no, with one of :data:`fedpersona.wire.parcel.REFUSALS`."""
        self._push(Message(_error(code), reply_to=ask.head))

    # -- messages --

    def _head(self, found: fleet_pb2.PullMessagesResponse) -> Message:
        if len(found.messages_list) != 1 or len(found.message_object_trees) != 1:
            raise ParcelRefused("the server gave several messages at once")
        try:
            head = message_from_proto(found.messages_list[0])
        except (ValueError, TypeError, KeyError):
            raise ParcelRefused("the server's message has no head that can be read") from None
        if head.metadata.dst_node_id != self._node.node_id:
            raise ParcelRefused("the server's message is for another device")
        return head

    def _parcel(self, head: Message, trees: Any) -> Parcel:
        kind = head.metadata.message_type
        if kind not in ASKS:
            raise ParcelRefused(f"a message of type '{kind[:40]}' is none of {', '.join(ASKS)}")
        if head.has_error():
            raise ParcelRefused("the server's message is an error")
        most = min(_LARGEST_MESSAGE, _BESIDE + sum(one.most for one in ASKS[kind].values()))
        ids = list(dict.fromkeys(self._ids(trees[0])))
        pieces: dict[str, bytes] = {}
        for one in ids:
            pieces[one] = self._piece(one, head.metadata.run_id)
            if sum(map(len, pieces.values())) > most:
                raise ParcelRefused(f"the server's message has more than {most:,} bytes")
        check_inflation(pieces, most)
        try:
            message = inflate_object_from_contents(head.metadata.message_id, pieces)
        except (ValueError, TypeError, KeyError, DecodeError, RecursionError, AttributeError):
            raise ParcelRefused("the server's message cannot be put together from its pieces") from None
        if not isinstance(message, Message) or not isinstance(message.content, RecordDict):
            raise ParcelRefused("the server's message has no content")
        if message.metadata.message_type != kind:
            raise ParcelRefused("the server's message says two things about its type")
        return parcel_from(kind, message.content, ASKS)

    def _ids(self, tree: Any) -> Iterator[str]:
        for number, node in enumerate(iterate_object_tree(tree)):
            if number >= _MOST_OBJECTS or len(node.object_id) != 64:
                raise ParcelRefused("the server's message has too many pieces, or one without a name")
            yield node.object_id

    def _piece(self, name: str, run_id: int) -> bytes:
        request = message_pb2.PullObjectRequest(node=self._node, run_id=run_id, object_id=name)
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = self._call("pull-object", request, message_pb2.PullObjectResponse(), most=_LARGEST_PIECE)
            if not found.object_found:
                raise ParcelRefused("a piece of the server's message is not there")
            if found.object_available:
                break
            if time.monotonic() > deadline:
                raise ParcelRefused("a piece of the server's message did not come")
            self._stop.wait(0.2)
            self._stop.check()
        content = bytes(found.object_content)
        if hashlib.sha256(content).hexdigest() != name:
            raise ParcelRefused("a piece of the server's message is not the one it is called by")
        try:
            validate_object_content(content)
        except Exception:
            raise ParcelRefused("a piece of the server's message is not of Flower's form") from None
        return content

    def _confirm(self, head: Message) -> None:
        request = message_pb2.ConfirmMessageReceivedRequest(
            node=self._node, run_id=head.metadata.run_id, message_object_id=head.metadata.message_id
        )
        self._call("confirm-message-received", request, message_pb2.ConfirmMessageReceivedResponse())

    def _push(self, message: Message) -> None:
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            request = fleet_pb2.PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
            )
            taken = self._call("push-messages", request, fleet_pb2.PushMessagesResponse(), tries=1)
            pieces = get_all_nested_objects(message)
            for name in taken.objects_to_push:
                if name not in pieces:
                    raise ParcelRefused("the server asks for a piece that is no part of the answer")
                self._push_piece(name, pieces[name].deflate(), message.metadata.run_id, taken.session_id)

    def _push_piece(self, name: str, content: bytes, run_id: int, session: str) -> None:
        request = message_pb2.PushObjectRequest(
            node=self._node, run_id=run_id, object_id=name, object_content=content, session_id=session
        )
        if not self._call("push-object", request, message_pb2.PushObjectResponse(), seconds=300.0).stored:
            raise RoundClosed("the server did not keep a piece of the answer: the round is over for this device")

    # -- calls --

    def _call(
        self,
        path: str,
        request: Any,
        response: _Proto,
        *,
        most: int = _LARGEST_ANSWER,
        seconds: float = 30.0,
        tries: int = _TRIES,
    ) -> _Proto:
        """Ask the server, again after a pause where it does not answer, and read what it says."""
        body = request.SerializeToString()
        pause = _FIRST_PAUSE
        for left in range(tries - 1, -1, -1):
            try:
                answer = self._post(path, body, seconds, most)
                if answer.status not in (429, 502, 503, 504):
                    break
                raise ServerUnreachable(f"{self._https.address}: is busy or not ready ({answer.status})")
            except ServerUnreachable as error:
                if not left or type(error) is not ServerUnreachable:
                    raise
            self._stop.wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - not all devices at once
            self._stop.check()
            pause = min(2 * pause, _LONGEST_PAUSE)
        self._check(answer)
        try:
            response.ParseFromString(answer.body)
        except DecodeError:
            raise ServerUnreachable(f"{self._https.address}: answers with something that cannot be read") from None
        return response

    def _post(
        self, path: str, body: bytes, seconds: float, most: int = _LARGEST_ANSWER, way: Https | None = None
    ) -> Answer:
        now = datetime.now(UTC).isoformat()
        signature = self._key.sign(now.encode("ascii"), ec.ECDSA(hashes.SHA256()))
        headers = {
            "accept": _MEDIA,
            "flwr-public-key": base64.b64encode(self._public).decode("ascii"),
            "flwr-timestamp": now,
            "flwr-signature": base64.b64encode(signature).decode("ascii"),
            "flwr-package-name": package_name,
            "flwr-package-version": package_version,
            "flwr-component-name": "SuperNode",
        }
        asked = way or self._https
        return asked.post(f"/v1/fleet/{path}", body, media=_MEDIA, headers=headers, most=most, seconds=seconds)

    def _check(self, answer: Answer) -> None:
        """Say what a refusal of the server's means."""
        if answer.ok:
            return
        self._active = False
        if answer.status == 403:
            raise EnrolmentRefused("the server does not know this device, or its operator has revoked it")
        if answer.status == 401:
            skew = _skew(answer)
            if abs(skew) > _SKEW:
                raise ClockUnsure(
                    f"this device's clock and the server's are {abs(skew) / 3600:.1f} hours apart, so the server "
                    "refuses it: look whether the date of this device is right"
                )
            raise EnrolmentRefused("the server does not accept this device's key: enrol it again")
        if answer.status in (400, 404, 409, 412, 422):
            raise RoundClosed(f"the server takes no such message now ({answer.status}): the round is over")
        raise ServerUnreachable(f"{self._https.address}: answers with an error ({answer.status})")


def _ec_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolmentRefused("the key of this device is not one that Flower takes: enrol it again")
    return key


def _error(code: str) -> Error:
    if code not in REFUSALS:
        raise ValueError(f"a refusal is one of {REFUSALS}")
    return Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, code)


def _skew(answer: Answer) -> float:
    """Return how many seconds this device's clock is ahead of the server's, 0 where it does not say."""
    try:
        there = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError, TypeError):
        return 0.0
    return (datetime.now(UTC) - there).total_seconds()
