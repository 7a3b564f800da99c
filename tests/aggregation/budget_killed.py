"""Spends and releases in a process that is killed at each step; what it left is printed."""

from __future__ import annotations

import os
from pathlib import Path

from fedpersona.aggregation.budget_entries import Spent
from tests.aggregation.budgets import Kept, plan
from tests.aggregation.kill_at_each_step import run

SERIALS = (2, 3)
_PIECE = 300  # bytes that a write takes at most: an entry is written in several


def prepare(folder: Path) -> None:
    Kept(folder).spend(1, multiplier=6.0)


def act(folder: Path) -> None:
    with Kept(folder).open() as budget, (folder / "released").open("ab", buffering=0) as released:
        for serial in SERIALS:
            budget.spend(plan(serial, number=serial), 1)
            released.write(f"{serial}\n".encode())
            os.fsync(released.fileno())


def look(folder: Path) -> dict:
    kept, file = Kept(folder), folder / "released"
    released = [int(line) for line in file.read_text().split()] if file.exists() else []
    read = paid(kept)
    with kept.open() as budget:  # a coordinator goes on: the same plans again cost nothing more
        held = [entry.said.serial for entry in budget.balance.entries if isinstance(entry.said, Spent)]
        for serial in SERIALS:
            budget.spend(plan(serial, number=serial), 1)
    return {"released": released, "read": read, "held": held, "after": paid(kept)}


def paid(kept: Kept) -> list[int]:
    return [entry.said.serial for entry in kept.read().entries if isinstance(entry.said, Spent)]


if __name__ == "__main__":
    write = os.pwrite
    os.pwrite = lambda handle, data, place: write(handle, data[:_PIECE], place)
    run(prepare, act, look)
