"""A workload as Flower's apps: what its devices and its server do. The driver and Ray's workers import it.

The environment variable ``BENCHMARK_TASK`` holds the task.
"""

from __future__ import annotations

import functools
import json
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from peers.child import Task, finish
from peers.workload import BATCH, DIM, LR, Workload, draw_epoch, first_vectors, load
from torch.nn.functional import binary_cross_entropy_with_logits

torch.set_num_threads(1)
client, server = ClientApp(), ServerApp()


class Factors(torch.nn.Module):
    """A vector for each item: what is shared."""

    def __init__(self, items: int, *, sparse: bool) -> None:
        super().__init__()
        self.items = torch.nn.Embedding(items, DIM, sparse=sparse)


@functools.lru_cache(1)
def task() -> Task:
    return Task(**json.loads(os.environ["BENCHMARK_TASK"]))


@functools.lru_cache(1)
def workload() -> Workload:
    return load(task().workload, Path(task().data) if task().data else None, Path(task().cache), task().cohort)


@functools.lru_cache(1)
def device() -> tuple[Factors, np.ndarray, np.random.Generator]:
    """Return what a process makes once for all the devices that it plays."""
    factors = Factors(workload().items, sparse=task().variant == "sparse")
    return factors, first_vectors(workload())[1], np.random.default_rng([task().seed, os.getpid()])


@client.train()
def train(message: Message, context: Context) -> Message:
    factors, people, rng = device()
    number = int(context.node_config["partition-id"])
    if "person" not in context.state:
        context.state["person"] = ArrayRecord([people[number]])
    person = torch.nn.Parameter(torch.from_numpy(context.state["person"].to_numpy_ndarrays()[0].copy()))
    factors.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimiser = torch.optim.SGD([*factors.parameters(), person], lr=LR)
    for _ in range(task().epochs):
        items, labels = map(torch.from_numpy, draw_epoch(workload().history(number), workload().items, rng))
        for first in range(0, len(items), BATCH):
            logits = factors.items(items[first : first + BATCH]) @ person
            loss = binary_cross_entropy_with_logits(logits, labels[first : first + BATCH])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    context.state["person"] = ArrayRecord([person.detach().numpy()])
    content = {"arrays": ArrayRecord(factors.state_dict()), "metrics": MetricRecord({"num-examples": 1})}
    return Message(content=RecordDict(content), reply_to=message)


@client.query()
def hand_back(message: Message, context: Context) -> Message:
    """Hand back the private vector: for figures, after the last round."""
    content = {"person": context.state["person"], "is": ConfigRecord({"n": int(context.node_config["partition-id"])})}
    return Message(content=RecordDict(content), reply_to=message)


class Timed(FedAvg):
    """Notes when each round begins, and who was asked."""

    def __init__(self, nodes: int, cohort: int) -> None:
        super().__init__(fraction_train=1e-9, fraction_evaluate=0.0, min_train_nodes=cohort, min_available_nodes=nodes)
        self.times: list[float] = []
        self.asked: set[int] = set()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        while len(list(grid.get_node_ids())) < self.min_available_nodes:  # no part of a round
            time.sleep(0.5)
        self.times.append(time.perf_counter())
        messages = list(super().configure_train(server_round, arrays, config, grid))
        self.asked.update(message.metadata.dst_node_id for message in messages)
        return messages


@server.main()
def main(grid: Grid, context: Context) -> None:
    random.seed(task().seed)
    items, people = first_vectors(workload())
    factors = Factors(workload().items, sparse=False)
    factors.items.weight.data.copy_(torch.from_numpy(items))
    strategy = Timed(workload().people, workload().cohort)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(factors.state_dict()), num_rounds=task().rounds)
    strategy.times.append(time.perf_counter())
    if task().keep:
        for reply in grid.send_and_receive(
            [Message(content=RecordDict(), dst_node_id=node, message_type=MessageType.QUERY) for node in strategy.asked]
        ):
            people[int(reply.content["is"]["n"])] = reply.content["person"].to_numpy_ndarrays()[0]
    finish(
        task(),
        np.diff(strategy.times).tolist(),
        ("flwr", "ray", "torch", "numpy"),
        items=result.arrays.to_torch_state_dict()["items.weight"].numpy(),
        people=people,
    )
