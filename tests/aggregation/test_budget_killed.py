"""kill -9 around every write of the budget: what was released was paid for, and nothing is paid for twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from fedpersona.aggregation.budget_entries import Spent
from tests.aggregation import budget_killed
from tests.aggregation.budgets import Kept
from tests.aggregation.kill_at_each_step import killed_at_each_step

ENDLESS = """
import itertools, os, sys
from pathlib import Path
from tests.aggregation.budgets import Kept, plan
folder, first = Path(sys.argv[1]), int(sys.argv[2])
with Kept(folder).open() as budget, (folder / "released").open("ab", buffering=0) as released:
    for serial in itertools.count(first):
        budget.spend(plan(serial, number=serial, multiplier=100.0), 1)
        if serial == first:  # what counts is loaded now
            print("goes", flush=True)
        released.write(f"{serial}\\n".encode())
"""


def test_killed_at_any_step_nothing_was_released_that_was_not_paid_for_and_nothing_is_paid_for_twice(tmp_path):
    found = killed_at_each_step(Path(budget_killed.__file__), tmp_path)
    assert not found[-1]["killed"]
    assert len(found) > 25
    kinds = set()
    for one in found:
        assert one["read"] == one["held"] == [1, 2, 3][: len(one["read"])]
        assert one["released"] == [2, 3][: len(one["released"])]
        assert set(one["released"]) <= set(one["held"])
        assert one["after"] == [1, 2, 3]
        kinds.add(len(one["held"]) - 1 - len(one["released"]))
    assert kinds == {0, 1}  # a kill may count one too much, and did; never one too few


def test_killed_at_random_a_process_that_spends_without_end_loses_no_spend(tmp_path):
    kept, chance, released = Kept(tmp_path / "state"), random.Random(7), tmp_path / "state" / "released"
    root = Path(__file__).parents[2]
    first = 1
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(kept.folder), str(first)],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout.readline() == b"goes\n"
            time.sleep(0.3 * chance.random())
            os.kill(process.pid, signal.SIGKILL)
        done = [int(line) for line in released.read_text().split()]
        paid = [entry.said.serial for entry in kept.read().entries if isinstance(entry.said, Spent)]
        assert len(set(paid)) == len(paid)
        assert set(done) <= set(paid)
        assert len(set(paid) - set(done)) <= 4  # at most one for each kill
        first = paid[-1] + 1 if paid else 1
    assert len(done) > 4
