"""Devices without vault, gate and owner that take part in whole secure sums of a real server, each in a thread.

They remember what they sent, so that a test can look for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedpersona.aggregation.certificates import authority_der, operator_public
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.superlink import Control
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.identity import Identity
from fedpersona.device.network_link import NetworkLink
from fedpersona.device.secure_round import SecureRound
from fedpersona.errors import FedpersonaError, Stopped
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.taste import create
from fedpersona.taste.counters import DEVICES, round_layout
from fedpersona.wire.message import envelope
from fedpersona.wire.parcel import BODIES
from fedpersona.wire.plan import Plan


class _Serials:
    """What a device remembers of plans: here nothing."""

    def accept_serial(self, server: str, serial: int) -> None:
        pass

    def accept_issue(self, server: str, issued: int) -> None:
        pass


@dataclass
class Crowd:
    """Devices that run, and what they did."""

    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """The kind of each answer, and its body."""
    problems: list[str] = field(default_factory=list)
    hold: Callable[[int, str], None] = lambda number, kind: None
    """Called before a device answers, with its number and the kind of message; may wait."""


class _Recorded(NetworkLink):
    def __init__(self, crowd: Crowd, number: int, *rest) -> None:
        super().__init__(*rest)
        self.crowd, self.number = crowd, number

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        self.crowd.hold(self.number, kind)
        if kind in BODIES:  # of query.agree the signature alone is sent
            self.crowd.sent.append((kind, bytes(body)))
        super().answer(kind, plan_hash, body)

    def send(self, message) -> None:
        self.crowd.hold(self.number, "train.update")
        self.crowd.sent.append(("train.update", bytes(message)))
        super().send(message)


def enrolled(config, count: int) -> list[Identity]:
    """Enrol devices in the server's database and at its SuperLink, which runs."""
    server = config.server
    blank = Identity(
        server.address, config.federation.name, operator_public(server.signing_key), authority_der(server.authority)
    )
    found = []
    with Database.open(config.database) as database, Control(config.superlink()) as control:
        roster = Roster(database)
        for _ in range(count):
            one = blank.with_keys()
            signer = one.signer.public_key().public_bytes_raw()
            number = roster.enrol(roster.issue_token(1.0), one.flower_public_key, signer).number
            node_id = control.register_node(one.flower_public_key)
            roster.attach(number, node_id)
            found.append(Identity(**{**vars(one), "device": number, "node_id": node_id}))
    return found


@contextmanager
def taking_part(identities: list[Identity], crowd: Crowd) -> Iterator[Crowd]:
    """Let devices take part in every round, until the context ends."""
    stop = Stop()
    threads = [
        threading.Thread(target=_live, args=(_Recorded(crowd, number, identity, _Serials(), stop), crowd, stop))
        for number, identity in enumerate(identities)
    ]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _live(link: NetworkLink, crowd: Crowd, stop: Stop) -> None:
    try:
        while not stop.wished:
            try:
                _contribute(link, stop)
            except Stopped:
                break
            except FedpersonaError as error:
                crowd.problems.append(f"{type(error).__name__}: {error}")
                stop.wait(0.5)
    finally:
        link.leave()


def _contribute(link: NetworkLink, stop: Stop) -> None:
    offer = link.offer(5.0)
    if offer is None:
        return
    plan = Plan.decode(offer.plan)
    model = create(plan.model, dict(plan.settings))
    layout = round_layout(model, starter.catalogue(), plan)
    message, words = envelope(plan_hash=plan.hash(), layout=layout, ring_bits=plan.ring_bits)
    place = model.layout(starter.catalogue(), plan.round_number).size
    words[place] = int(FixedPoint.for_plan(plan, layout).scale(DEVICES))
    secure = SecureRound(link, plan, stop.check, stop.wait)
    try:
        secure.mask(words)
        link.send(message)
        secure.finish()
    finally:
        secure.erase()
