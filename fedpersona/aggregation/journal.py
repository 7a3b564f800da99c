"""What the server did, in numbers: rounds, counters, the operator's acts, and the state that everyone may know.

:meth:`Journal.end` counts a round in the transaction that ends it, so that a kill counts none twice. The counters it
keeps: ``rounds`` (label ``outcome``), ``invited``, ``replies``, ``refused`` (``reason``, one of :data:`REASONS`),
``dropped``, ``late``, ``bytes`` (``direction``: ``up`` or ``down``) and ``seconds`` (``stage``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from fedpersona.aggregation import database as tables
from fedpersona.aggregation.database import Database
from fedpersona.errors import ServerError
from fedpersona.wire.parcel import REFUSALS

__all__ = ["REASONS", "RESTS", "Condition", "Counter", "Event", "Journal", "RoundRecord", "State"]

REASONS = (*REFUSALS, "unsigned", "revoked", "stale", "double", "shape", "gone")
"""Why a reply is not in a sum: what devices say (:data:`fedpersona.wire.parcel.REFUSALS`), and what the server found.

``unsigned``: not signed by its device; ``revoked``: by a device that was shut out; ``stale``: for a round that is
over; ``double``: a second answer; ``shape``: not of the agreed form; ``gone``: no answer, the device left.
"""

State: TypeAlias = Literal["idle", "gathering", "training", "waiting", "spent"]
"""What the server is doing.

``idle``: nothing to do; ``gathering``: waits for devices; ``training``: in a round; ``waiting``: until a retry;
``spent``: the privacy budget pays for no further round, until the operator raises its limit.
"""

RESTS: tuple[State, ...] = ("idle", "spent")
"""The states in which no round is held, nor will be by itself."""


@dataclass(frozen=True)
class RoundRecord:
    """One attempt at a round."""

    id: int
    training: int
    round_number: int
    attempt: int
    serial: int
    invited: int
    phase: str
    began_at: int
    """Unix seconds."""
    ended_at: int | None
    outcome: str | None
    """None while it runs; ``interrupted`` where a kill ended it."""
    answered: int
    """Devices in the sum."""
    refused: Mapping[str, int]
    """By reason."""
    dropped: int
    late: int
    bytes_up: int
    bytes_down: int
    seconds: Mapping[str, float]
    """By stage."""


@dataclass(frozen=True)
class Counter:
    """A number that only rises."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Event:
    """An act of the operator's."""

    id: int
    at: int
    """Unix seconds."""
    kind: str
    words: str


@dataclass(frozen=True)
class Condition:
    """What the server is doing."""

    state: State
    words: str
    since: int
    """Unix seconds."""


class Journal:
    """Keeps the record of a server.

    Args:
        database: where it is kept.
        clock: gives Unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def begin(self, training: int, round_number: int, attempt: int, serial: int, invited: int) -> int:
        """Record that a round begins; return the id of the record.

        A round that has not ended is one that a kill interrupted: its record is ended as ``interrupted``.
        """
        row = {
            "training": training,
            "round_number": round_number,
            "attempt": attempt,
            "serial": serial,
            "invited": invited,
            "phase": "begun",
            "began_at": self._now(),
        }
        with self._database.writing() as connection:
            open_rounds = tables.rounds.c.ended_at.is_(None)
            left = connection.execute(
                tables.rounds.update().where(open_rounds).values(outcome="interrupted", ended_at=self._now())
            ).rowcount
            if left:
                _count(connection, "rounds", {"outcome": "interrupted"}, left)
            _count(connection, "invited", {}, invited)
            added = tables.rounds.insert().values(row).returning(tables.rounds.c.id)
            return int(connection.scalars(added).one())

    def phase(self, id: int, name: str) -> None:  # noqa: A002
        """Record which phase a round is in."""
        with self._database.writing() as connection:
            self._update_open(connection, id, {"phase": name})

    def end(
        self,
        id: int,  # noqa: A002
        outcome: str,
        answered: int = 0,
        refused: Mapping[str, int] | None = None,
        dropped: int = 0,
        late: int = 0,
        bytes_up: int = 0,
        bytes_down: int = 0,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Record how a round ended, and count it.

        Args:
            id: from :meth:`begin`.
            outcome: one word: ``completed``, ``too few``, …
            answered: devices in the sum.
            refused: replies that are not in it, by reason.
            dropped: devices that were asked and did not answer.
            late: replies that came after the deadline.
            bytes_up: bytes that devices sent, all together.
            bytes_down: bytes that they received, all together.
            seconds: by stage.

        Raises:
            ValueError: a reason is none of :data:`REASONS`.
            ServerError: the round has ended, or never began.
        """
        refused, seconds = dict(refused or {}), dict(seconds or {})
        if unknown := set(refused) - set(REASONS):
            raise ValueError(f"reasons to refuse are {', '.join(REASONS)}, not {', '.join(sorted(unknown))}")
        numbers = {
            "answered": answered,
            "dropped": dropped,
            "late": late,
            "bytes_up": bytes_up,
            "bytes_down": bytes_down,
        }
        row = {"outcome": outcome, "ended_at": self._now(), "refused": refused, "seconds": seconds, **numbers}
        with self._database.writing() as connection:
            self._update_open(connection, id, row)
            _count(connection, "rounds", {"outcome": outcome}, 1)
            _count(connection, "replies", {}, answered)
            _count(connection, "dropped", {}, dropped)
            _count(connection, "late", {}, late)
            _count(connection, "bytes", {"direction": "up"}, bytes_up)
            _count(connection, "bytes", {"direction": "down"}, bytes_down)
            for reason, times in refused.items():
                _count(connection, "refused", {"reason": reason}, times)
            for stage, length in seconds.items():
                _count(connection, "seconds", {"stage": stage}, length)

    def rounds(self, limit: int = 100) -> list[RoundRecord]:
        """Return the last rounds, the newest first."""
        chosen = select(tables.rounds).order_by(tables.rounds.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [RoundRecord(**row._asdict()) for row in connection.execute(chosen)]

    def count(self, name: str, labels: Mapping[str, str] | None = None, n: float = 1) -> None:
        """Add to a counter, durably.

        Raises:
            ValueError: ``n`` is negative, or a label ``reason`` is none of :data:`REASONS`.
        """
        with self._database.writing() as connection:
            _count(connection, name, labels or {}, n)

    def count_all(self, counters: Iterable[Counter]) -> None:
        """Add to many counters in one transaction: each transaction waits for the disk, some milliseconds.

        Raises:
            ValueError: as :meth:`count`; then none is counted.
        """
        with self._database.writing() as connection:
            for counter in counters:
                _count(connection, counter.name, counter.labels, counter.value)

    def counters(self) -> list[Counter]:
        """Return all counters, by name and labels."""
        chosen = select(tables.counters).order_by(tables.counters.c.name, tables.counters.c.labels)
        with self._database.reading() as connection:
            rows = connection.execute(chosen).all()
        return [Counter(row.name, json.loads(row.labels), row.value) for row in rows]

    def event(self, kind: str, words: str) -> None:
        """Record an act of the operator's: never a token, a key or a device's data."""
        with self._database.writing() as connection:
            connection.execute(tables.events.insert().values(at=self._now(), kind=kind, words=words))

    def events(self, limit: int = 100) -> list[Event]:
        """Return the operator's last acts, the newest first."""
        chosen = select(tables.events).order_by(tables.events.c.id.desc()).limit(limit)
        with self._database.reading() as connection:
            return [Event(**row._asdict()) for row in connection.execute(chosen)]

    def state(self) -> Condition:
        """Return what the server is doing."""
        with self._database.reading() as connection:
            row = connection.execute(select(tables.condition)).one()
        return Condition(cast(State, row.state), row.words, row.since)

    def say(self, state: State, words: str = "") -> None:
        """Say what the server is doing, to all its processes and pages."""
        if state not in get_args(State):
            raise ValueError(f"a state is one of {', '.join(get_args(State))}, not '{state}'")
        with self._database.writing() as connection:
            found = connection.execute(select(tables.condition)).one()
            since = found.since if found.state == state else self._now()
            connection.execute(tables.condition.update().values(state=state, words=words, since=since))

    def bell(self) -> int:
        """Return how often devices had something new to pull."""
        with self._database.reading() as connection:
            return int(connection.scalar(select(tables.condition.c.bell)) or 0)

    def ring(self) -> int:
        """Tell devices that there is something to pull; return the new count."""
        with self._database.writing() as connection:
            connection.execute(tables.condition.update().values(bell=tables.condition.c.bell + 1))
            return int(connection.scalar(select(tables.condition.c.bell)) or 0)

    def _now(self) -> int:
        return int(self._clock())

    def _update_open(self, connection: Connection, number: int, row: Mapping[str, object]) -> None:
        chosen = (tables.rounds.c.id == number) & tables.rounds.c.ended_at.is_(None)
        if connection.execute(tables.rounds.update().where(chosen).values(dict(row))).rowcount != 1:
            raise ServerError(f"the record {number} of a round has ended or never began: nothing was changed")


def _count(connection: Connection, name: str, labels: Mapping[str, str], n: float) -> None:
    if n < 0:
        raise ValueError(f"the counter '{name}' only rises; {n} was to be added")
    if "reason" in labels and labels["reason"] not in REASONS:
        raise ValueError(f"a reason to refuse is one of {', '.join(REASONS)}, not '{labels['reason']}'")
    row = {"name": name, "labels": json.dumps(dict(labels), sort_keys=True, separators=(",", ":")), "value": n}
    added = insert(tables.counters).values(row)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=["name", "labels"], set_={"value": tables.counters.c.value + added.excluded.value}
        )
    )
