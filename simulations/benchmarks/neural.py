"""Modules of PyTorch for many devices at once, beside a loop over devices as one would write it.

    python simulations/benchmarks/neural.py
    python simulations/benchmarks/neural.py --data ml-100k.inter

A perceptron (fedncf, one pass over a device's plays), a gated recurrent unit written out, and causal attention (the
recipe's; five passes each), for a round of 100 devices on one core: the same plays, the same samples. The loops are
plain torch: autograd and ``optim.SGD`` on a module that gets the shared parameters anew for each device, with the table
of items copied whole (dense), or with sparse gradients and only the rows put back that were looked up (sparse). They
draw their samples too, but bound, encode and check nothing, which the engine does. First it is held that all give the
same sum, to the precision of float32. Then they take turns; figures are medians. ``--data`` is MovieLens 100K's file of
interactions as RecBole ships it; without, as many people and items are invented.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from fedpersona.catalogue import Catalogue
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation import datasets
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.neural.engine import NeuralEngine
from fedpersona.simulation.neural.loading import brought
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.simulated_device import training_keys
from fedpersona.taste import create
from fedpersona.taste.counters import round_layout
from fedpersona.taste.gradient.model import as_private
from fedpersona.taste.model import Shared
from fedpersona.taste.neural import TorchTaste
from fedpersona.wire.plan import Plan

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "sequence_model.py"
TARGET = 4.0


class Recurrent(nn.Module):
    """A gated recurrent unit over the latest plays, written out, as it must be to be mapped over devices."""

    tables = ("item",)
    task = "sequence"
    length = 50

    def __init__(self, items: int, dim: int = 32) -> None:
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.inward, self.onward = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)
        nn.init.normal_(self.item.weight, std=0.1)

    def states(self, history: Tensor) -> Tensor:
        inward = self.inward(self.item(history))
        state, states = torch.zeros_like(inward[0, : inward.shape[1] // 3]), []
        for entry in inward.unbind(0):
            reset, update, new = entry.chunk(3)
            reset_on, update_on, new_on = self.onward(state).chunk(3)
            fresh = torch.tanh(new + torch.sigmoid(reset + reset_on) * new_on)
            state = torch.lerp(fresh, state, torch.sigmoid(update + update_on))
            states.append(state)
        return torch.stack(states)

    def forward(self, history: Tensor, candidates: Tensor) -> Tensor:
        return (self.item(candidates) @ self.states(history).unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class Case:
    """One module, and how it is trained."""

    title: str
    model: TorchTaste


def cases() -> list[Case]:
    """Return the three."""
    here = f"torch:{Path(__file__).resolve()}:Recurrent"
    return [
        Case("perceptron (fedncf)", create("fedncf", {"lr": 0.5})),  # type: ignore[arg-type]
        Case("recurrent unit", brought(here, {"lr": 0.5, "epochs": 5})),
        Case("attention", brought(f"torch:{RECIPE}", {"lr": 0.5, "epochs": 5})),
    ]


def population(path: Path | None) -> Population:
    """Return the people: of the file, or invented."""
    if path is None:
        return datasets.load("synthetic", data=None, seed=0, people=943, items=1682).train
    rows = np.loadtxt(path, skiprows=1)
    people, items = rows[:, 0].astype(int) - 1, rows[:, 1].astype(int) - 1
    catalogue = Catalogue.create([str(row) for row in range(items.max() + 1)])
    return Population.from_pairs(
        "ml-100k", catalogue, people, items, person_ids=np.arange(people.max() + 1), times=rows[:, 3].astype(int)
    )


class Round:
    """One round of one model: by the engine, and by loops."""

    def __init__(self, model: TorchTaste, people: Population, cohort: int) -> None:
        self.model, self.people = model, people
        self.items = len(people.catalogue)
        self.shared: Shared = model.init(people.catalogue, seed=1)
        self.devices = np.sort(np.random.default_rng(11).choice(len(people), cohort, replace=False)).astype(np.int64)
        self.plan = Plan(model.name, 1, cohort, 2, 64, seed=1)
        self.fixed_point = FixedPoint.for_plan(self.plan, round_layout(model, people.catalogue, self.plan))
        self.module = model.module_class()(self.items, **model.arguments)
        self.tables = {name.replace("/", ".") for name in model.blueprint.tables}

    def engine(self) -> dict[str, np.ndarray]:
        """Return the sum of the updates as the engine takes it."""
        privates = PrivateTable.begin(self.model, 1, len(self.people)) if self.model.remembers else None
        total = self.fixed_point.zeros()
        engine = NeuralEngine(self.model, self.people, Behaviour(), privates=privates)
        engine.add(total, self.plan, self.shared, self.fixed_point, self.devices)
        decoded = self.fixed_point.decode(total)
        return {name: decoded[name] for name in self.shared.arrays}

    def loop(self, *, sparse: bool) -> dict[str, np.ndarray]:
        """Return the sum of the updates as a loop over devices takes it."""
        begin = {name: torch.tensor(array) for name, array in self.shared.arrays.items()}
        own = as_private(self.model.begin(1, np.zeros(1, np.int64))[0], self.model.private_shapes())
        begin |= {name: torch.tensor(array, dtype=torch.float32) for name, array in own.arrays.items()}
        begin = {name.replace("/", "."): value for name, value in begin.items()}
        total = {name: torch.zeros_like(value) for name, value in begin.items()}
        for name, part in self.module.named_modules():
            if f"{name}.weight" in self.tables:
                part.sparse = sparse
        parameters = dict(self.module.named_parameters())
        optimiser = torch.optim.SGD(parameters.values(), lr=self.model.lr)
        touched: np.ndarray | None = None
        for device, key in zip(self.devices.tolist(), training_keys(self.plan, self.devices), strict=True):
            steps = self.model.steps(self.people.plays(device), key, self.items)
            with torch.no_grad():
                for name, value in parameters.items():
                    if sparse and name in self.tables and touched is not None:
                        value[touched] = begin[name][touched]
                    else:
                        value.copy_(begin[name])
            for ids, beside in steps:
                loss = self.loss([torch.from_numpy(one) for one in ids], [torch.from_numpy(one) for one in beside])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            touched = np.unique(np.concatenate([one.reshape(-1) for one in steps.ids]))
            with torch.no_grad():
                for name, value in parameters.items():
                    if sparse and name in self.tables:
                        total[name][touched] += value[touched] - begin[name][touched]
                    else:
                        total[name] += value
                        total[name] -= begin[name]
        return {name: total[name.replace("/", ".")].numpy() for name in self.shared.arrays}

    def loss(self, ids: list[Tensor], beside: list[Tensor]) -> Tensor:
        """Return the loss of one step on one device."""
        logits, labels = self.module(*ids), beside[0]
        if len(ids) == 2:
            labels = torch.zeros_like(logits)
            labels[:, 0] = 1.0
        losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return ((losses.mean(-1) if len(ids) == 2 else losses) * beside[-1]).sum()


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Return the largest difference of two sums, beside the largest entry of its array."""
    return max(float(np.abs(one[name] - other[name]).max() / (np.abs(other[name]).max() or 1.0)) for name in other)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="MovieLens 100K's ml-100k.inter; by default people are invented")
    parser.add_argument("--cohort", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    people = population(arguments.data)
    print(f"{people}; rounds of {arguments.cohort} devices, torch {torch.__version__}, one core\n")
    print(f"  {'':22}{'steps':>8}{'dense loop':>12}{'sparse loop':>13}{'engine':>10}  ratio to the faster loop")
    missed = False
    for case in cases():
        task = Round(case.model, people, arguments.cohort)
        ways: dict[str, Callable[[], dict[str, np.ndarray]]] = {
            "dense": lambda task=task: task.loop(sparse=False),
            "sparse": lambda task=task: task.loop(sparse=True),
            "engine": task.engine,
        }
        sums = {name: way() for name, way in ways.items()}
        for name in ("sparse", "engine"):
            if apart(sums[name], sums["dense"]) > 1e-3:
                raise SystemExit(f"{case.title}: {name} differs by {apart(sums[name], sums['dense']):.1e}")
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.turns):
            for name, way in ways.items():
                started = time.thread_time()
                way()
                seconds[name].append(time.thread_time() - started)
        speed = {name: arguments.cohort / median(times) for name, times in seconds.items()}
        ratio = speed["engine"] / max(speed["dense"], speed["sparse"])
        keys = training_keys(task.plan, task.devices)
        steps = np.mean(
            [
                len(case.model.steps(people.plays(d), k, task.items))
                for d, k in zip(task.devices.tolist(), keys, strict=True)
            ]
        )
        print(
            f"  {case.title:22}{steps:8.1f}{speed['dense']:10.0f}/s{speed['sparse']:11.0f}/s{speed['engine']:8.0f}/s"
            f"  {ratio:.1f}{'' if ratio >= TARGET else f', BELOW {TARGET:g}'}",
            flush=True,
        )
        missed |= ratio < TARGET
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
