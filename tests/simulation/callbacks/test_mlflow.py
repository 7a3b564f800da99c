"""A run as MLflow keeps it, in a file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import socket, sys
from pathlib import Path

def nowhere(*_):
    raise AssertionError("a connection was opened")

socket.socket.connect = nowhere  # a local file needs none
from fedpersona.simulation import RunConfig, simulate
from fedpersona.simulation.callbacks import make_callback
from tests.conftest import hold_out, invent

class Said:
    def stage(self, text): pass
    def progress(self, done, total): pass
    def rounds(self, *_): pass
    def note(self, text): print("note:", text)

config = RunConfig(dataset="invented", model="subspace", settings={"dim": 3, "rounds": 4}, ceiling=False,
                   evaluate_every=2, data="/home/someone")
run = simulate(config, Said(), hold_out(invent()), callbacks=[make_callback("mlflow", Path("runs/a"))])

from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///" + str(Path("runs/mlflow.db").absolute()))
experiment = client.get_experiment_by_name("fedpersona")
(kept,) = client.search_runs([experiment.experiment_id])
print(kept.info.run_name, kept.info.status, kept.data.params["set.dim"])
history = client.get_metric_history(kept.info.run_id, "devices")
print(sorted((metric.step, metric.value) for metric in history))
print(kept.data.metrics["test_ndcg_at_10"] == run.record.federated.test["ndcg@10"])
print("someone" in str(kept.data.params))
"""


@pytest.mark.skipif(find_spec("mlflow") is None, reason="the extra mlflow is not installed")
def test_mlflow_keeps_a_run_in_a_file_beside_it_and_calls_nobody(tmp_path):
    """In a process of its own: MLflow's libraries warn of each other, and it is asked before it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "a FINISHED 3",
        "[(1, 60.0), (2, 60.0), (3, 60.0), (4, 60.0)]",
        "True",
        "False",
    ]
    assert {entry.name for entry in tmp_path.iterdir()} == {"runs"}
