"""A budget in a folder of its own, and plans that spend from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.budget import Balance, Budget, open_budget, read_balance
from fedpersona.aggregation.budget_entries import Opened
from fedpersona.aggregation.database import Database
from fedpersona.wire.plan import Plan

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
DELTA = 1e-5


def plan(serial: int, *, multiplier: float | None = 5.0, number: int = 1, **changes: object) -> Plan:
    """Return a plan with noise; the same for the same arguments."""
    noise = {} if multiplier is None else {"noise": "central", "noise_multiplier": multiplier, "epsilon": 8.0}
    said = {**noise, "delta": None if multiplier is None else DELTA, "clip": 1.0, **changes}
    return Plan("popularity", number, cohort=50, min_count=50, ring_bits=64, seed=1, serial=serial, **said)


@dataclass
class Kept:
    """The folder of a budget, with the database beside it."""

    folder: Path
    limit: float = 8.0

    @property
    def file(self) -> Path:
        return self.folder / "budget.jsonl"

    @property
    def lines(self) -> list[bytes]:
        return self.file.read_bytes().splitlines(keepends=True)

    def database(self) -> Database:
        return Database(self.folder / "fedpersona.db")

    @contextmanager
    def open(self, key: Ed25519PrivateKey = KEY, wait: float = 0.0, clock=lambda: 1_800_000_000.0) -> Iterator[Budget]:
        with (
            self.database() as database,
            open_budget(self.file, database, key, self.first, clock=clock, wait=wait) as budget,
        ):
            yield budget

    def first(self) -> Opened:
        return Opened("Test people", self.limit, DELTA, 0)

    def spend(self, *serials: int, **said: object) -> None:
        with self.open() as budget:
            for serial in serials:
                budget.spend(plan(serial, number=serial, **said), 1)

    def read(self) -> Balance | None:
        with self.database() as database:
            return read_balance(self.file, database, KEY.public_key().public_bytes_raw())
