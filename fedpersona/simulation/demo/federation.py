"""The demo's federation, from the first device to the promoted model: who does what, and what must go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpersona.catalogue import Catalogue
from fedpersona.errors import RoundFailed
from fedpersona.simulation.demo.devices import Fleet, Told
from fedpersona.simulation.demo.people import Person
from fedpersona.simulation.demo.server import DemoServer
from fedpersona.simulation.demo.story import Story

__all__ = ["CAST", "PASSPHRASE", "Cast", "Federation", "Outcome"]

PASSPHRASE = "demo"  # noqa: S105 - of vaults of invented people
_AT_ONCE = 4  # devices that start at one time
_PATIENCE = 300.0  # seconds, for all rounds; a machine with nothing else to do takes a tenth of it
_LOOK = 0.5  # seconds between two looks at the server's rounds


@dataclass(frozen=True)
class Cast:
    """Who has which part, by number from 0."""

    people: int = 20
    without_consent: tuple[int, ...] = (6, 14)
    may_drop_out: tuple[int, ...] = (5, 9, 13)
    """One of them is killed in the middle of a round. There are several candidates, so that one is in it though not
    everybody should be."""
    drop_out_round: int = 1
    may_be_revoked: tuple[int, ...] = (7, 11)
    """One of them is revoked in the middle of a round."""
    revoked_round: int = 2
    rounds: int = 2
    """So few people span a space that is found in two."""
    dim: int = 16

    @property
    def cohort(self) -> int:
        """Most devices that a round takes: all that take part."""
        return self.people - len(self.without_consent)

    @property
    def summed(self) -> int:
        """How many are in the last sum: those that are left when one has dropped out and one was revoked."""
        return self.cohort - 2

    @property
    def least(self) -> int:
        """Fewest devices that a sum is released for, in the demo: ``least_cohort`` of its devices."""
        return 10

    def settings(self) -> Mapping[str, object]:
        """Return what the server's configuration says."""
        return {
            "operator": "fedpersona demo",
            "cohort": self.cohort,
            "wait_for": self.cohort - 1,  # in the second round one is gone already
            "min_count": self.least,
            "gather_seconds": 60,
            "deadline_seconds": 20,
            "linger_seconds": 5,
            "attempts": 8,
        }

    def holds_in(self, number: int) -> int:
        """Return the round in which a device holds until it is told to go on, 0 for none."""
        if number in self.may_drop_out:
            return self.drop_out_round
        return self.revoked_round if number in self.may_be_revoked else 0


CAST = Cast()


@dataclass
class Outcome:
    """What the federation came to."""

    version: int = 0
    rounds: list[Mapping[str, Any]] = field(default_factory=list)
    """All attempts, the oldest first, as the server's journal has them."""
    killed: int = -1
    revoked: int = -1
    fetched: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """What each device told at the end."""

    def took_part(self) -> list[int]:
        """Return the devices that contributed to the last, whole model, in order."""
        out = {self.killed, self.revoked}
        return sorted(number for number, facts in self.fetched.items() if facts["sent"] and number not in out)

    def stayed_away(self) -> list[int]:
        """Return the devices that have sent nothing at all, in order."""
        return sorted(number for number, facts in self.fetched.items() if not facts["sent"])


class Federation:
    """Plays the demo with a server that runs.

    Args:
        server: it.
        fleet: its devices, none started yet.
        people: whose they are.
        exports: the files they were handed.
        folder: where the devices' folders are made.
        catalogue: the public one.
        story: where it is told.
        cast: who has which part.
    """

    def __init__(
        self,
        server: DemoServer,
        fleet: Fleet,
        people: Sequence[Person],
        exports: Sequence[Path],
        folder: Path,
        catalogue: Catalogue,
        story: Story,
        cast: Cast = CAST,
    ) -> None:
        self._server = server
        self._fleet = fleet
        self._people = people
        self._exports = exports
        self._folder = folder
        self._catalogue = catalogue
        self._story = story
        self._cast = cast
        self._numbers: dict[int, int] = {}
        self._sent: dict[int, set[int]] = {}
        self._told_rounds: set[int] = set()
        self.outcome = Outcome()

    # -- devices come --

    def gather(self) -> None:
        """Start all devices, a few at a time; each imports its export, enrols and waits for a round."""
        invitations = self._server.invite(len(self._people))
        waiting = list(range(len(self._people)))
        listens = known = 0
        for number in waiting[:_AT_ONCE]:
            self._start(number)
        del waiting[:_AT_ONCE]
        deadline = time.monotonic() + _PATIENCE
        while len(self._numbers) < len(self._people):
            self._story.progress(len(self._numbers), len(self._people))
            told = self._hear(deadline)
            if told is None:
                continue
            if told.stage == "imported":
                listens += told.facts["listens"]
                known += told.facts["known"]
                self._fleet.order("enrol", [told.device], invitation=invitations[told.device])
                if waiting:
                    self._start(waiting.pop(0))
            elif told.stage == "enrolled":
                self._numbers[told.device] = told.facts["number"]
                self._fleet.order("join", [told.device])
                if told.device in self._cast.without_consent:
                    self._story.say(
                        f"{self._people[told.device].name} never said yes: the device fetches what is public, and does "
                        "not show itself to any round."
                    )
            else:
                self._react(told)
        self._story.say(
            f"{len(self._people)} processes, {len(self._people)} vaults, {listens:,} plays imported "
            f"({listens - known:,} of them of music that no catalogue has). All enrolled by invitation."
        )

    def _start(self, number: int) -> None:
        person = self._people[number]
        self._fleet.start(
            number,
            {
                "folder": str(self._folder / f"device-{number + 1}"),
                "passphrase": PASSPHRASE,
                "export": str(self._exports[number]),
                "consent": number not in self._cast.without_consent,
                "least_cohort": self._cast.least,
                "holds_in": self._cast.holds_in(number),
                "held_out": self._catalogue.ids[person.held_out],
            },
        )

    # -- rounds --

    def train(self) -> Outcome:
        """Let all take part until the server has finished its training, and all have its model.

        Raises:
            RoundFailed: it did not, in time.
        """
        deadline = time.monotonic() + _PATIENCE
        next_look = 0.0
        while not self._finished():
            told = self._hear(deadline, _LOOK)
            if told is not None:
                self._react(told)
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + _LOOK
        while (served := self._server.served()) is None:
            self._hear(deadline)
        self.outcome.version = int(served["number"])
        not_shut_out = [number for number in self._fleet.devices if number != self.outcome.revoked]
        for number in self._fleet.order("fetch", not_shut_out):
            self.outcome.fetched[number] = {}
        self._await("fetched", lambda told: self.outcome.fetched.__setitem__(told.device, told.facts))
        return self.outcome

    def show(self, stage: str, devices: Sequence[int]) -> dict[int, Mapping[str, Any]]:
        """Return what devices show when they are asked for ``playlist``, ``ledger`` or ``rank``."""
        found: dict[int, Mapping[str, Any]] = {}
        order = "measure" if stage == "rank" else stage
        for number in self._fleet.order(order, list(devices)):
            found[number] = {}
        self._await(stage, lambda told: found.__setitem__(told.device, told.facts), len(found))
        return found

    def _await(self, stage: str, take: Callable[[Told], None], count: int | None = None) -> None:
        wanted = len(self.outcome.fetched) if count is None else count
        deadline = time.monotonic() + _PATIENCE
        heard = 0
        while heard < wanted:
            told = self._hear(deadline)
            if told is not None and told.stage == stage:
                take(told)
                heard += 1
                self._story.progress(heard, wanted)

    def _hear(self, deadline: float, seconds: float = 1.0) -> Told | None:
        if time.monotonic() > deadline:
            raise RoundFailed(
                f"the demo was not done after {_PATIENCE:.0f} s: this machine is busy, or something is wrong; "
                "try again with --keep FOLDER and look at the logs in it"
            )
        return self._fleet.hear(seconds)

    def _react(self, told: Told) -> None:
        match told.stage:
            case "sent":
                self._sent.setdefault(told.facts["round"], set()).add(told.device)
                self._story.progress(len(self._sent[told.facts["round"]]), self._cast.cohort)
            case "holding":
                self._misfortune(told.device)

    def _misfortune(self, number: int) -> None:
        """Kill or revoke the first device that holds for it; the other candidates go on."""
        name = self._people[number].name
        if number in self._cast.may_drop_out and self.outcome.killed < 0:
            device = self._fleet.devices[number]
            self.outcome.killed = number
            device.kill()
            self._story.say(
                f"{name}'s device was killed in round {self._cast.drop_out_round}, half-way (process {device.pid}). "
                "Others have masked with it already; they hold shares of its key, and help to take those masks off."
            )
            self._fleet.order("go", list(self._cast.may_drop_out))
        elif number in self._cast.may_be_revoked and self.outcome.revoked < 0:
            self.outcome.revoked = number
            self._server.revoke(self._numbers[number])
            self._story.say(
                f"{name}'s device was in the middle of round {self._cast.revoked_round} when the operator revoked it "
                f"('fedpersona server revoke {self._numbers[number]}'). What it sends now is refused; the sum is "
                "that of the others."
            )
            self._fleet.order("go", list(self._cast.may_be_revoked))
        else:
            self._fleet.order("go", [number])

    def _look(self) -> None:
        """Look at the server's rounds, and tell of those that have ended."""
        found = self._server.rounds()[::-1]
        if found:
            self.outcome.rounds = [dict(one) for one in found]
        for one in found:
            if one["ended_at"] is not None and one["id"] not in self._told_rounds:
                self._told_rounds.add(one["id"])
                self._sent.pop(one["round_number"], None)
                self._story.say(_told(one))

    def _finished(self) -> bool:
        done = [one for one in self.outcome.rounds if one["outcome"] == "completed"]
        return len(done) == self._cast.rounds


def _told(one: Mapping[str, Any]) -> str:
    number, attempt = one["round_number"], one["attempt"]
    again = f", attempt {attempt}" if attempt > 1 else ""
    if one["outcome"] == "completed":
        return f"Round {number}{again}: the sum of {one['answered']} masked updates was opened, and no single one."
    return f"Round {number}{again}: {one['outcome']}. Nothing was released; it is held again with those still there."
