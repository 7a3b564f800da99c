"""Many devices train a module at once: mapped over devices by ``torch.func``, looked-up rows as inputs.

A step gathers the rows that its ids look up, maps the module's loss over the lanes, and takes the gradient by the
parameters of each lane and by the rows, which is then added to an arena of the rows that these devices touch. No table
of items is there for a device. The gradient of the sum of all losses is each lane's own, since no lane reads another's:
so it is enough to map the forward pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedpersona.errors import ConfigError, FedpersonaError
from fedpersona.simulation.neural.lanes import Lanes, Step
from fedpersona.taste.neural import TorchTaste
from fedpersona.taste.neural.blueprint import Objective, one_thread

__all__ = ["Trained", "train_together"]


@dataclass(frozen=True, eq=False)
class Trained:
    """Devices after their training, a row each, in the order of the lanes."""

    private: Mapping[str, NDArray[np.float32]]
    """Private parameters, shape (lanes, ...)."""
    moved: Mapping[str, NDArray[np.float32]]
    """What shared parameters moved by, shape (lanes, ...)."""
    rows_moved: Mapping[str, NDArray[np.float32]]
    """By table, what the rows of the arena moved by, shape (rows, width)."""


def train_together(
    model: TorchTaste,
    shared: Mapping[str, Tensor],
    private: Mapping[str, NDArray[np.float32]],
    lanes: Lanes,
    *,
    frozen: bool = False,
) -> Trained:
    """Take all steps of all lanes.

    Args:
        model: the module and its settings.
        shared: its shared parameters by array name.
        private: private parameters as devices begin, a row a lane.
        lanes: the devices.
        frozen: whether the shared parameters stay as they are.

    Raises:
        ConfigError: the module does what cannot be mapped over devices.
    """
    plan = model.blueprint
    rows = torch.from_numpy(lanes.rows)
    base = {table: shared[table].index_select(0, rows) for table in plan.tables}
    arena = base if frozen else {table: held.clone() for table, held in base.items()}
    values = {name: torch.from_numpy(array.copy()) for name, array in private.items()}
    if not frozen:
        values |= {name: shared[name].unsqueeze(0).repeat(len(lanes), *[1] * shared[name].dim()) for name in plan.dense}
    descent = _Descent(model, plan.objective(len(shared[plan.tables[0]])), shared, base, arena, values, frozen)
    with one_thread(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("error", message="There is a performance drop")
        for step in lanes:
            try:
                descent.take(step)
            except FedpersonaError:
                raise
            except (RuntimeError, UserWarning) as error:
                raise ConfigError(
                    f"{plan.kind.__name__} does what cannot be mapped over devices ({str(error).splitlines()[0]}): "
                    "write it in simpler operations, or take the engine 'device'"
                ) from error
    return Trained(
        {name: values[name].numpy() for name in plan.private},
        {} if frozen else {name: (values[name] - shared[name]).numpy() for name in plan.dense},
        {} if frozen else {table: (arena[table] - base[table]).numpy() for table in plan.tables},
    )


class _Descent:
    """The parameters of all lanes while they train."""

    def __init__(
        self,
        model: TorchTaste,
        objective: Objective,
        shared: Mapping[str, Tensor],
        base: Mapping[str, Tensor],
        arena: Mapping[str, Tensor],
        values: dict[str, Tensor],
        frozen: bool,
    ) -> None:
        self.lr, self.prox = model.lr, model.prox
        self.plan = model.blueprint
        self.objective = objective
        self.shared, self.base, self.arena, self.values = shared, base, arena, values
        self.frozen = frozen
        self.looked_up = [(table, position) for table in self.plan.tables for position in self.plan.looked_up[table]]
        self.still = {name: shared[name] for name in self.plan.dense} if frozen else {}

    def loss(
        self, values: Mapping[str, Tensor], rows: Sequence[Tensor], ids: Sequence[Tensor], beside: Sequence[Tensor]
    ) -> Tensor:
        """Return the loss of one lane."""
        by_table: dict[str, list[Tensor | None]] = {table: [None] * len(ids) for table in self.plan.tables}
        for (table, position), looked in zip(self.looked_up, rows, strict=True):
            by_table[table][position] = looked
        return self.objective.at({**self.still, **values}, by_table, ids, beside)

    def take(self, step: Step) -> None:
        """Take one step of all lanes that go on."""
        slots = [torch.from_numpy(slot) for slot in step.slots]
        leaves = {name: value[: step.lanes].detach().requires_grad_() for name, value in self.values.items()}
        rows = []
        for table, position in self.looked_up:
            held = self.arena[table].index_select(0, slots[position].reshape(-1))
            rows.append(held.view(*slots[position].shape, held.shape[-1]).requires_grad_(not self.frozen))
        ids = [torch.from_numpy(array) for array in step.ids]
        beside = [torch.from_numpy(array) for array in step.beside]
        losses = vmap(self.loss, randomness="error")(leaves, rows, ids, beside)
        wanted = [*leaves.values(), *(() if self.frozen else rows)]
        slopes = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
        with torch.no_grad():
            self._move(step, slots, list(leaves), slopes)

    def _move(self, step: Step, slots: list[Tensor], names: list[str], slopes: Sequence[Tensor | None]) -> None:
        moving = [
            (self.values[name][: step.lanes], slope)
            for name, slope in zip(names, slopes, strict=False)
            if slope is not None
        ]
        if moving:
            torch._foreach_add_([value for value, _ in moving], [slope for _, slope in moving], alpha=-self.lr)
        for (table, position), slope in zip(self.looked_up, slopes[len(names) :], strict=False):
            if slope is not None:
                flat = slope.reshape(-1, slope.shape[-1]) * -self.lr  # a slope can be that of another table too
                self.arena[table].scatter_add_(0, slots[position].reshape(-1, 1).expand_as(flat), flat)
        if self.prox and not self.frozen:
            self._draw_back(step)

    def _draw_back(self, step: Step) -> None:
        """Draw shared parameters back to where the round began: the proximal operator of FedProx's term."""
        rate = 1.0 / (1.0 + self.lr * self.prox)
        for name in self.plan.dense:
            here = self.values[name][: step.lanes]
            torch.lerp(self.shared[name].expand_as(here), here, rate, out=here)
        for table, arena in self.arena.items():
            here = arena[: step.rows]
            torch.lerp(self.base[table][: step.rows], here, rate, out=here)
