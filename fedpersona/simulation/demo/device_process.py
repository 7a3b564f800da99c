"""One device of the demo, in a process of its own: ``python -m fedpersona.simulation.demo.device_process``.

It is told what to do on its standard input, a JSON object a line, and tells on its standard output what stage it has
reached. Nothing of the history is among that, but for what its owner would see on their own screen and was asked to
show: a playlist, the ledger. It ends when its input ends, so it never outlives the demo.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock
from typing import Any, TextIO, cast

import numpy as np

from fedpersona import Device, Policy, sources
from fedpersona.device.background import Stop
from fedpersona.device.link import Link, Offer
from fedpersona.device.network_link import NetworkLink
from fedpersona.device.playlist import WeeklyConfig
from fedpersona.errors import FedpersonaError
from fedpersona.wire.plan import Plan

__all__ = ["TellingLink", "Work", "main"]

_HOLD = 45.0  # seconds that a device which was told to hold waits at most
_LAST_VISIT = 30.0  # seconds for visits that fetch the model
_PAUSE = 0.5  # seconds between two of them
_DONE = {"query.enter": "entered", "query.share": "shared", "query.agree": "agreed", "query.unmask": "unmasked"}
"""What a device tells once it has answered."""
_SHOWN = 10  # tracks of the playlist

Tell = Callable[..., None]
"""Takes the name of a stage, and what there is to say of it."""


class TellingLink(NetworkLink):
    """The way to the server, which tells how far a round has come, and can hold in the middle of one."""

    tell: Tell
    holds_in: int
    """The round in which this device waits, entered and with its masks, until it is told to go on; 0: in none."""
    go_on: Event
    stopping: Stop
    _round = 0

    def offer(self, seconds: float) -> Offer | None:
        """Remember which round it is."""
        found = super().offer(seconds)
        if found is not None:
            self._round = Plan.decode(found.plan).round_number
        return found

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        """Tell how far the device is."""
        super().answer(kind, plan_hash, body)
        self.tell(_DONE[kind], round=self._round)

    def question(self, kind: str, plan_hash: str, seconds: float) -> Mapping[str, bytes] | None:
        """Hold where that was asked, once the update is asked for: others have masked with this device."""
        fields = super().question(kind, plan_hash, seconds)
        if fields is not None and kind == "train.update" and self._round == self.holds_in:
            self._hold()
        return fields

    def send(self, message: bytes | bytearray) -> None:
        """Tell that the update has left."""
        super().send(message)
        self.tell("sent", round=self._round)

    def _hold(self) -> None:
        self.tell("holding", round=self._round)
        for _ in range(int(_HOLD / 0.05)):
            if self.go_on.is_set() or self.stopping.wait(0.05):
                break


class _ToldDevice(Device):
    """A device whose way to the server tells how far a round has come."""

    tell: Tell
    holds_in = 0
    go_on: Event

    def _way(self, address: str, stop: Stop) -> Link:
        identity = self.enrolments.identity(address)
        assert identity is not None  # noqa: S101 - `join` has looked
        link = TellingLink(identity, self.enrolments.replays, stop, self._seen)
        link.tell, link.holds_in, link.go_on, link.stopping = self.tell, self.holds_in, self.go_on, stop
        return link


class Work:
    """What one device of the demo does, order by order.

    Args:
        device: it.
        orders: how it was set up.
        tell: where stages are told.
    """

    def __init__(self, device: _ToldDevice, orders: Mapping[str, Any], tell: Tell) -> None:
        self._device = device
        self._orders = orders
        self._tell = tell
        self._server = ""

    def begin(self) -> None:
        """Import the export, and set the floors."""
        device = self._device
        added = device.vault.add(sources.read(self._orders["export"]))
        device.policy = Policy(least_cohort=self._orders["least_cohort"])
        known = device.vault.matched(device.catalogue)
        self._tell("imported", listens=added.new, known=known.known_plays)

    def enrol(self, order: Mapping[str, Any]) -> None:
        """Take up the invitation; say yes, where this owner does."""
        identity = self._device.enrol(order["invitation"])
        self._server = identity.server
        if self._orders["consent"]:
            self._device.consent.grant("share_update", server=self._server)
        self._tell("enrolled", number=identity.device)

    def join(self, order: Mapping[str, Any]) -> None:
        """Take part in the background."""
        self._device.join(self._server, wait=0)

    def leave(self, order: Mapping[str, Any]) -> None:
        """Take no part any more; :meth:`fetch` still gets the model."""
        self._device.leave(self._server)

    def go(self, order: Mapping[str, Any]) -> None:
        """Hold no longer."""
        self._device.go_on.set()

    def fetch(self, order: Mapping[str, Any]) -> None:
        """Take the finished model, where it was not taken yet."""
        device = self._device
        device.go_on.set()
        state, until = "has the model", time.monotonic() + _LAST_VISIT
        while device.shelf.trained is None and time.monotonic() < until:
            device.leave(self._server)
            state = device.join(self._server, wait=_LAST_VISIT).state
            time.sleep(_PAUSE)  # the public page learns of a new model a moment after the operator does
        trained = device.shelf.trained
        self._tell(
            "fetched",
            rounds=None if trained is None else trained.shared.round_number,
            state=state,
            sent=device.ledger.count("sent"),
            refused=device.ledger.count("refused"),
        )

    def playlist(self, order: Mapping[str, Any]) -> None:
        """Show the owner's list."""
        made = self._device.playlist(WeeklyConfig(length=_SHOWN))
        items = [{"artist": one.artist, "title": one.title, "reason": one.reason} for one in made.items]
        self._tell("playlist", title=made.title, note=made.note, items=items)

    def ledger(self, order: Mapping[str, Any]) -> None:
        """Show the owner's ledger."""
        self._tell("ledger", entries=[str(entry) for entry in self._device.ledger.tail(100)])

    def measure(self, order: Mapping[str, Any]) -> None:
        """Tell the rank of the held-out track among all that the owner has not played."""
        from fedpersona.simulation.evaluation.ranking import full_ranks

        trained, plays = self._device.shelf.trained, self._device.plays()
        row = self._device.catalogue.find(self._orders["held_out"])
        if trained is None or row is None:
            self._tell("rank", rank=None)
            return
        scores = trained.model.scores(trained.shared, trained.model.personalise(trained.shared, plays), plays)
        played = (np.array([0, len(plays)]), plays.items)
        self._tell("rank", rank=int(full_ranks(scores[None, :], np.array([row]), played)[0]))


def main(commands: TextIO, answers: TextIO) -> None:
    """Work through the orders until there are no more."""
    lock = Lock()

    def tell(stage: str, **facts: Any) -> None:
        with lock:
            answers.write(json.dumps({"stage": stage, **facts}) + "\n")
            answers.flush()

    first = commands.readline()
    if not first:
        return
    orders = json.loads(first)
    with cast(_ToldDevice, _ToldDevice.open(Path(orders["folder"]), passphrase=orders["passphrase"])) as device:
        device.tell, device.holds_in, device.go_on = tell, orders["holds_in"], Event()
        work = Work(device, orders, tell)
        work.begin()
        for line in commands:
            order = json.loads(line)
            try:
                getattr(work, order["do"])(order)
            except FedpersonaError as error:
                tell("failed", doing=order["do"], words=str(error))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the demo's: it ends the input
    try:
        main(sys.stdin, sys.stdout)
    except BrokenPipeError:
        sys.stderr.write("nobody listens any more\n")
