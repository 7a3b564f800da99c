"""Flower's simulation engine on a workload: Ray with one core, every person a node."""

from __future__ import annotations

import os

from peers.child import begin

task, workload = begin()  # before Ray and its workers
os.environ["BENCHMARK_TASK"] = task.text()

from flwr.simulation import run_simulation  # noqa: E402
from peers import flower_app  # noqa: E402

if __name__ == "__main__":
    run_simulation(
        server_app=flower_app.server,
        client_app=flower_app.client,
        num_supernodes=workload.people,
        backend_config={
            "init_args": {"num_cpus": 1},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
