"""The ClientApp of simulated devices, for Flower's own runtimes: a SuperLink with stock nodes, its simulation, a grid.

For invented people only. A real device runs its own code (:mod:`fedpersona.device`), never one that a server sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpersona.errors import ConfigError, ParcelRefused, RoundClosed
from fedpersona.flower import parcel_from, records_from
from fedpersona.simulation.kept_round import KeptRound
from fedpersona.simulation.population import Population
from fedpersona.simulation.simulated_device import SimulatedDevice, operator_key
from fedpersona.simulation.synthetic import generate
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import unpack
from fedpersona.wire.parcel import ASKS, BODIES, REPLIES, Parcel, sign_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_roster import check_roster

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

    @app.train("plain")
    def plain(message: Message, context: Context) -> Message:
        device = device_of(context)
        parcel = parcel_from("train.plain", message.content, ASKS)
        plan = device.believe(parcel["plan"])
        if plan.masked:
            raise ParcelRefused("the plan asks for masks, the message for an update without")
        answer, _ = device.message(plan, _shared(_model(parcel)))
        return _reply(message, device, plan, bytes(answer))

    _answer_secure_sums(app, device_of)
    return app


def _answer_secure_sums(app: ClientApp, device_of: Callable[[Context], SimulatedDevice]) -> None:
    """Let an app take part in secure sums."""

    @app.query("enter")
    def enter(message: Message, context: Context) -> Message:
        parcel = parcel_from("query.enter", message.content, ASKS)
        device = device_of(context)
        secure = KeptRound.begin(device, parcel["plan"], _model(parcel))
        context.state[_ROUND] = ConfigRecord(dict(secure.fields))  # in place of that of an earlier round
        return _reply(message, device, secure.plan, secure.entering(device).advertise())

    @app.query("share")
    def share(message: Message, context: Context) -> Message:
        device, secure, parcel = _asked(device_of(context), message, context, "query.share")
        operator = operator_key(device.seed).public_key().public_bytes_raw()
        check_roster(parcel["roster"], secure.plan.hash(), parcel["signature"], operator)
        answer = secure.step(device).share(parcel["roster"], parcel["view"])
        return _go_on(message, context, device, secure, parcel, answer)

    @app.train("update")
    def update(message: Message, context: Context) -> Message:
        device, secure, parcel = _asked(device_of(context), message, context, "train.update")
        answer, words = device.message(secure.plan, _shared(secure.model))
        secure.step(device).mask(words, parcel["shares"])
        return _go_on(message, context, device, secure, parcel, bytes(answer))

    @app.query("agree")
    def agree(message: Message, context: Context) -> Message:
        device, secure, parcel = _asked(device_of(context), message, context, "query.agree")
        return _go_on(message, context, device, secure, parcel, secure.step(device).agree(parcel["survivors"]))

    @app.query("unmask")
    def unmask(message: Message, context: Context) -> Message:
        device, secure, parcel = _asked(device_of(context), message, context, "query.unmask")
        return _reply(message, device, secure.plan, secure.step(device).unmask(parcel["signatures"]))


def _asked(
    device: SimulatedDevice, message: Message, context: Context, kind: str
) -> tuple[SimulatedDevice, KeptRound, Parcel]:
    """Take up the round that a device is in; whatever happens next, it is not kept as it was."""
    parcel = parcel_from(kind, message.content, ASKS)
    kept = context.state.pop(_ROUND, None)
    fields = kept.items() if isinstance(kept, ConfigRecord) else ()
    secure = KeptRound.resumed(device, {name: value for name, value in fields if isinstance(value, bytes)})
    if parcel["plan_hash"] != secure.plan.hash().encode() or kind != secure.next:
        raise RoundClosed("this device is at another step, or in another round")
    return device, secure, parcel


def _go_on(
    message: Message, context: Context, device: SimulatedDevice, secure: KeptRound, parcel: Parcel, body: bytes
) -> Message:
    """Answer, and keep what the next step takes."""
    context.state[_ROUND] = ConfigRecord(dict(secure.after(parcel).fields))
    return _reply(message, device, secure.plan, body)


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


def _reply(message: Message, device: SimulatedDevice, plan: Plan, body: bytes) -> Message:
    kind = message.metadata.message_type
    signature = sign_reply(kind, plan.hash(), body, device.key)
    named = {BODIES[kind]: body} if kind in BODIES else {}
    return Message(records_from(kind, {**named, "signature": signature}, REPLIES), reply_to=message)


def _model(parcel: Parcel) -> bytes:
    packed = parcel.get("model")
    if packed is None:
        raise ParcelRefused("a simulated device has no server to fetch the model from: send it in the message")
    return packed


def _shared(packed: bytes) -> Shared:
    return unpack(packed)[0]


app = simulated_app(invented)
