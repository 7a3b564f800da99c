"""Our metrics are those of ranx, an independent implementation, on invented scores without ties.

ranx compiles itself for half a minute when it is first used; here it runs interpreted, in a process of its own,
which also keeps its warnings to itself.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fedpersona.simulation.evaluation import evaluate

PEOPLE, ITEMS = 80, 120
RANX = """
import json, sys
from ranx import Qrels, Run, evaluate
names = ["ndcg@10", "recall@20", "mrr", "hit_rate@10"]
sides = json.load(sys.stdin)
found = {on: evaluate(Qrels(s["relevant"]), Run(s["run"]), names, return_mean=False) for on, s in sides.items()}
json.dump({on: {name: list(map(float, found[on][name])) for name in names} for on in found}, sys.stdout)
"""


def as_ranx_reads_it(split, table, on):
    """The one relevant item of each person, and the scores of all that is not masked."""
    held_out = split.val if on == "val" else split.test
    relevant, run = {}, {}
    for person in range(PEOPLE):
        out = set(split.train.plays(person).items.tolist()) | ({int(split.val[person])} if on == "test" else set())
        relevant[f"{person:03}"] = {str(held_out[person]): 1}
        run[f"{person:03}"] = {str(i): float(table[person, i]) for i in range(ITEMS) if i not in out}
    return {"relevant": relevant, "run": run}


@pytest.mark.skipif(importlib.util.find_spec("ranx") is None, reason="ranx is not installed")
def test_every_persons_metrics_agree_with_ranx(make_split):
    split = make_split(people=PEOPLE, items=ITEMS, history=10)
    table = np.random.default_rng(2).permuted(np.tile(np.arange(ITEMS, dtype=np.float32), (PEOPLE, 1)), axis=1)
    answer = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps({on: as_ranx_reads_it(split, table, on) for on in ("val", "test")}),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    for on, theirs in json.loads(answer.stdout).items():
        ours = evaluate(split, lambda people: table[people], on=on, details=False).per_person
        assert len(set(ours["mrr"])) > 30
        for name, their_name in (("ndcg@10",) * 2, ("recall@20",) * 2, ("mrr",) * 2, ("hr@10", "hit_rate@10")):
            np.testing.assert_allclose(ours[name], theirs[their_name], rtol=1e-12)
