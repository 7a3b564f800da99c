"""A module is tried once, on a few items, before anything is trained with it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from fedpersona.errors import ConfigError, FedpersonaError
from fedpersona.taste.neural.blueprint import Blueprint, one_thread

__all__ = ["saved_bytes", "tried"]

_ITEMS, _SAMPLES, _CANDIDATES = 11, 5, 3


def tried(plan: Blueprint) -> Blueprint:
    """Return the blueprint with what its tables are looked up with.

    Raises:
        ConfigError: it fails, gives what is not finite, looks ahead, or has a table that is looked up with nothing.
    """
    name = plan.kind.__name__
    objective = plan.objective(_ITEMS)
    with one_thread(), torch.random.fork_rng(devices=[]), torch.no_grad():
        ids, beside = _step(plan, _SAMPLES, _CANDIDATES)
        try:
            loss = _at(plan, ids, beside)
            ahead = plan.task == "sequence" and not hasattr(plan.kind, "loss") and _looks_ahead(plan, ids)
        except FedpersonaError:
            raise
        except Exception as error:
            raise ConfigError(f"{name} fails on {_ITEMS} items: {type(error).__name__}: {error}") from error
    if loss.shape != () or not bool(torch.isfinite(loss)):
        raise ConfigError(f"{name} gives the loss {loss.tolist()} before any training: one finite number is wanted")
    if ahead:
        raise ConfigError(f"{name} looks ahead: what comes later in a history changes the logits of an earlier place")
    for part in objective.tables.values():
        if not part.asked:
            raise ConfigError(f"table '{part.table}' of {name} is looked up with nothing that forward is given")
    asked = {table: tuple(sorted(part.asked)) for table, part in objective.tables.items()}
    return replace(plan, looked_up=asked)


@lru_cache(maxsize=16)
def saved_bytes(plan: Blueprint, batch: int, negatives: int) -> int:
    """Return about how many bytes a step of one device keeps for its backward pass, and as much for gradients."""
    kept = 0

    def count(value: Tensor) -> Tensor:
        nonlocal kept
        kept += value.nbytes
        return value

    with one_thread(), torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
        _at(plan, *_step(plan, min(batch, 1024), 1 + negatives), moving=True)
    return 2 * kept


def _step(plan: Blueprint, samples: int, candidates: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    if plan.task == "sequence":
        history = torch.arange(plan.length) % _ITEMS
        others = torch.arange(plan.length * candidates).reshape(plan.length, candidates) % _ITEMS
        return (history, others), (torch.full((plan.length,), 1.0 / plan.length),)
    labels = torch.arange(samples) % 2
    return (torch.arange(samples) % _ITEMS,), (labels.float(), torch.full((samples,), 1.0 / samples))


def _at(plan: Blueprint, ids: tuple[Tensor, ...], beside: tuple[Tensor, ...], *, moving: bool = False) -> Tensor:
    """Return the loss, or the logits, of the module as it begins."""
    values = {name: torch.from_numpy(array).requires_grad_(moving) for name, array in plan.beginning(_ITEMS, 0).items()}
    rows = {table: tuple(values[table][one] for one in ids) for table in plan.tables}
    own = {name: value for name, value in values.items() if name not in plan.tables}
    return plan.objective(_ITEMS).at(own, rows, ids, beside)


def _looks_ahead(plan: Blueprint, ids: tuple[Tensor, ...]) -> bool:
    history, candidates = ids
    changed = history.clone()
    changed[-1] = (history[-1] + 1) % _ITEMS
    before, after = _at(plan, ids, ()), _at(plan, (changed, candidates), ())
    return not torch.equal(before[:-1], after[:-1])
