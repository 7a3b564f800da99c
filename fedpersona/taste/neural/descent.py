"""How one device trains a module: the readable form. Many at once, in a simulation, are held equal to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedpersona.taste.model import Private, Shared
from fedpersona.taste.neural.blueprint import one_thread
from fedpersona.taste.neural.steps import Steps

if TYPE_CHECKING:
    from fedpersona.taste.neural.model import TorchTaste

__all__ = ["FAR", "descend"]

FAR = 1e12
"""No training that went well comes so far from nothing."""


def descend(
    model: TorchTaste, shared: Shared, private: Private, steps: Steps, *, frozen: bool = False
) -> tuple[Private, dict[str, NDArray[np.float64]]]:
    """Take the steps, by plain stochastic gradient descent in float32.

    Only the rows of tables that are looked up are in the device's hands. With ``prox`` shared parameters are drawn back
    after every step, by the proximal operator of FedProx's term, which is stable for any step.

    Args:
        model: the module and its settings.
        shared: the model that the device begins with.
        private: the device's own parameters as it begins.
        steps: what it trains on.
        frozen: whether the shared parameters stay as they are.

    Returns:
        the private parameters after it, and what the shared ones moved by, all rows of tables. A training that leaves
        the range of numbers moves nothing: whoever asks for it must not learn from a failure who played what.
    """
    plan = model.blueprint
    items = len(shared[plan.tables[0]])
    touched = np.unique(np.concatenate([ids.reshape(-1) for ids in steps.ids]))
    base = {table: torch.from_numpy(shared[table][touched]) for table in plan.tables}
    tables = {table: rows.clone() for table, rows in base.items()}
    base |= {name: torch.from_numpy(shared[name].copy()) for name in plan.dense}
    values = {name: base[name].clone() for name in plan.dense}
    values |= {name: torch.tensor(private[name], dtype=torch.float32) for name in plan.private}
    moving = [name for name in values if name in plan.private or not frozen]
    objective = plan.objective(items)
    with one_thread():
        for ids, beside in steps:
            slots = [torch.from_numpy(np.searchsorted(touched, one)) for one in ids]
            rows = {
                table: [
                    tables[table][slot].requires_grad_() if position in plan.looked_up[table] else None
                    for position, slot in enumerate(slots)
                ]
                for table in plan.tables
            }
            for name in moving:
                values[name] = values[name].detach().requires_grad_()
            given = [torch.from_numpy(array) for array in beside]
            objective.at(values, rows, [torch.from_numpy(array) for array in ids], given).backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for name in moving:
                    slope = values[name].grad
                    values[name] = values[name] if slope is None else values[name] - model.lr * slope
                    if name in base:
                        values[name] = _drawn(values[name], base[name], model.lr * model.prox)
                for table in () if frozen else plan.tables:
                    _step_rows(tables[table], slots, rows[table], model.lr)
                    tables[table] = _drawn(tables[table], base[table], model.lr * model.prox)
    moved = {name: (values[name] - base[name]).detach().numpy().astype(np.float64) for name in plan.dense}
    for table in plan.tables:
        moved[table] = np.zeros(shared[table].shape)
        moved[table][touched] = (tables[table] - base[table]).numpy()
    kept = Private({name: values[name].detach().numpy().astype(np.float64) for name in plan.private})
    if not all((np.abs(array) <= FAR).all() for array in (*moved.values(), *kept.arrays.values())):
        return private, {name: np.zeros(shape) for name, shape in plan.shared_shapes(items).items()}
    return kept, {name: moved[name] for name in plan.shared_shapes(items)}


def _step_rows(table: Tensor, slots: Sequence[Tensor], rows: Sequence[Tensor | None], lr: float) -> None:
    """Move the rows that were looked up, in place; one that was looked up twice by both slopes."""
    for slot, looked in zip(slots, rows, strict=True):
        if looked is not None and looked.grad is not None:
            table.index_add_(0, slot.reshape(-1), looked.grad.reshape(-1, looked.shape[-1]), alpha=-lr)


def _drawn(value: Tensor, base: Tensor, strength: float) -> Tensor:
    """Return a value drawn back to where it began."""
    return base + (value - base) / (1.0 + strength) if strength else value
