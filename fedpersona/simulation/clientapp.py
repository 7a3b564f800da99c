"""The ClientApp of simulated devices, for Flower's own runtimes: a SuperLink with stock nodes, its simulation, a grid.

For invented people only. A real device runs its own code (:mod:`fedpersona.device`), never one that a server sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpersona.errors import ConfigError, ParcelRefused, RoundClosed
from fedpersona.flower import parcel_from, records_from
from fedpersona.simulation.population import Population
from fedpersona.simulation.simulated_device import SimulatedDevice, SimulatedMaskKey
from fedpersona.simulation.synthetic import generate
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import unpack
from fedpersona.wire.parcel import ASKS, REPLIES, Parcel, sign_reply
from fedpersona.wire.plan import Plan

__all__ = ["ANNOUNCE", "ANNOUNCED", "app", "invented", "invented_people", "simulated_app"]

ANNOUNCE = "query.announce"
"""Asks a simulated device for its public key: nobody enrolled it."""
ANNOUNCED = "announced"
"""Record of the answer: ``key``, 32 bytes."""

_ROUND = "round"  # what a device keeps from entering a round to its update


def simulated_app(device_of: Callable[[Context], SimulatedDevice]) -> ClientApp:
    """Return a ClientApp that answers for simulated devices.

    Args:
        device_of: gives the device of a node.
    """
    app = ClientApp()

    @app.query("announce")
    def announce(message: Message, context: Context) -> Message:
        key = device_of(context).key.public_key().public_bytes_raw()
        return Message(RecordDict({ANNOUNCED: ConfigRecord({"key": key})}), reply_to=message)

    @app.query("enter")
    def enter(message: Message, context: Context) -> Message:
        device = device_of(context)
        parcel = parcel_from("query.enter", message.content, ASKS)
        plan = device.believe(parcel["plan"])
        secret = SimulatedMaskKey.fresh()
        context.state[_ROUND] = ConfigRecord(  # in place of that of an earlier round
            {"plan": parcel["plan"], "model": _model(parcel), "secret": secret}
        )
        return _reply(message, device, plan, {"key": SimulatedMaskKey(secret).public})

    @app.train("update")
    def update(message: Message, context: Context) -> Message:
        device = device_of(context)
        parcel = parcel_from("train.update", message.content, ASKS)
        kept = context.state.pop(_ROUND, None)  # a key masks once, and is gone whatever happens next
        if not isinstance(kept, ConfigRecord):
            raise RoundClosed("this device has not entered the round")
        plan = device.believe(_bytes(kept, "plan"))
        if parcel["plan_hash"] != plan.hash().encode():
            raise RoundClosed("this device entered another round")
        answer, words = device.message(plan, _shared(_bytes(kept, "model")))
        keys = parcel["neighbours"]
        neighbours = [keys[start : start + 32] for start in range(0, len(keys), 32)]
        SimulatedMaskKey(_bytes(kept, "secret")).mask(words, neighbours, plan.hash().encode())
        return _reply(message, device, plan, {"update": bytes(answer)})

    @app.train("plain")
    def plain(message: Message, context: Context) -> Message:
        device = device_of(context)
        parcel = parcel_from("train.plain", message.content, ASKS)
        plan = device.believe(parcel["plan"])
        if plan.masked:
            raise ParcelRefused("the plan asks for masks, the message for an update without")
        answer, _ = device.message(plan, _shared(_model(parcel)))
        return _reply(message, device, plan, {"update": bytes(answer)})

    return app


def invented(context: Context) -> SimulatedDevice:
    """Return the synthetic person that a node's ``partition-id`` names.

    Raises:
        ConfigError: the node has none, or one beyond the ``people`` of the run.
    """
    people, items, seed = (int(context.run_config[name]) for name in ("people", "items", "seed"))
    number = context.node_config.get("partition-id")
    if type(number) is not int or not 0 <= number < people:
        raise ConfigError(f"this node's partition-id is {number}: give each node its own, from 0 to {people - 1}")
    return SimulatedDevice.of(invented_people(people, items, seed), number, seed=seed)


@lru_cache(maxsize=1)
def invented_people(people: int, items: int, seed: int) -> Population:
    """Return the synthetic population of a run, the same on every node; 0 items: as many as fit the people."""
    return generate(people=people, items=items or None, seed=seed)


def _reply(message: Message, device: SimulatedDevice, plan: Plan, fields: Mapping[str, bytes]) -> Message:
    kind = message.metadata.message_type
    (body,) = fields.values()
    signed = {**fields, "signature": sign_reply(kind, plan.hash(), body, device.key)}
    return Message(records_from(kind, signed, REPLIES), reply_to=message)


def _model(parcel: Parcel) -> bytes:
    packed = parcel.get("model")
    if packed is None:
        raise ParcelRefused("a simulated device has no server to fetch the model from: send it in the message")
    return packed


def _shared(packed: bytes) -> Shared:
    return unpack(packed)[0]


def _bytes(record: ConfigRecord, name: str) -> bytes:
    value = record[name]
    if not isinstance(value, bytes):
        raise RoundClosed("what this device kept of the round is not what it wrote")
    return value


app = simulated_app(invented)
