"""A Flower grid in one process: the same messages as over a SuperLink, without a network, a port or a wait.

Messages are Flower's own and cross by copy: what a node does to one, or keeps of it, the sender never sees. One node
answers after another, as soon as it is asked. A node that fails or drops out answers with Flower's error, as the
SuperLink would say it.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["LocalGrid", "NodeApp"]

NodeApp: TypeAlias = Callable[[Message, Context], Message]
"""What answers for a node: a ``ClientApp``, or any function of a message and the node's context."""

_FIRST_NODE = 100  # Flower keeps 0 and 1 for itself
_RUN = 1


def _nobody_drops(node_id: int, message: Message) -> bool:
    return False


class LocalGrid(Grid):
    """Reaches nodes of this process.

    Args:
        nodes: what answers, by node id.
        run_config: the configuration of the run, the same for all.
        drop: tells whether a node is gone when a message comes for it.
    """

    def __init__(
        self,
        nodes: Mapping[int, NodeApp],
        *,
        run_config: Mapping[str, bool | float | int | str] | None = None,
        drop: Callable[[int, Message], bool] = _nobody_drops,
    ) -> None:
        self.drop = drop
        self._nodes = dict(nodes)
        self._replies: dict[str, Message] = {}
        self._run = Run.create_empty(_RUN)
        self._contexts = {
            node_id: Context(
                run_id=_RUN,
                node_id=node_id,
                node_config={"partition-id": place, "num-partitions": len(self._nodes)},
                state=RecordDict(),
                run_config=dict(run_config or {}),
            )
            for place, node_id in enumerate(self._nodes)
        }
        # Flower asks the process who it is whenever a message is made.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN, SUPERLINK_NODE_ID

    @classmethod
    def of_one_app(
        cls,
        app: NodeApp,
        count: int,
        *,
        run_config: Mapping[str, bool | float | int | str] | None = None,
        drop: Callable[[int, Message], bool] = _nobody_drops,
    ) -> LocalGrid:
        """Return a grid of ``count`` nodes that run the same app, told apart by their ``partition-id``, from 0."""
        nodes = {_FIRST_NODE + place: app for place in range(count)}
        return cls(nodes, run_config=run_config, drop=drop)

    def context(self, node_id: int) -> Context:
        """Return what a node keeps between two messages, for tests that look."""
        return self._contexts[node_id]

    # -- Flower's interface --

    def set_run(self, run: Run) -> None:
        """Set the run that the messages belong to."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that the messages belong to."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let each node answer; return the messages' ids, empty where there is no such node."""
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, each once."""
        found = (self._replies.pop(message_id, None) for message_id in list(message_ids))
        return [reply for reply in found if reply is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Let each node answer, and return the replies; nobody ever waits here."""
        return self.pull_messages(self.push_messages(messages))

    # -- inner workings --

    def _push(self, message: Message) -> str:
        node_id = message.metadata.dst_node_id
        if node_id not in self._nodes:
            return ""
        _name(message)
        reply = self._answer(node_id, copy.deepcopy(message))
        _name(reply)
        # Whom a reply is to is its sender's word, as it is on a network.
        self._replies[reply.metadata.reply_to_message_id] = reply
        return message.metadata.message_id

    def _answer(self, node_id: int, message: Message) -> Message:
        question = copy.deepcopy(message)  # a node may spoil the one it is given
        if self.drop(node_id, message):
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "the node dropped out"), reply_to=question)
        try:
            reply = self._nodes[node_id](message, self._contexts[node_id])
            if not isinstance(reply, Message):
                raise TypeError(f"a node answered with a {type(reply).__name__} instead of a message")
            return copy.deepcopy(reply)
        except Exception as error:  # whatever a node does, the grid goes on
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=question)


def _name(message: Message) -> None:
    """Give a message its id, where Flower's SuperLink writes it."""
    message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
