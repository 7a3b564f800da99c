"""A module's logits of all items for one person."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from fedpersona.plays import Plays
from fedpersona.taste.model import Private, Shared
from fedpersona.taste.neural.blueprint import Blueprint, one_thread
from fedpersona.taste.neural.steps import in_order

__all__ = ["all_logits", "score_all", "window"]

_CANDIDATE_FLOATS = 1 << 22
"""Entries of the candidates' rows at once, where a sequence module takes every item as a candidate."""


class _Scoring(nn.Module):
    """A module's own ``scores``, called as a ``forward``."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, history: Tensor, last: Tensor) -> Tensor:
        logits: Tensor = self.module.scores(history, last)  # type: ignore[operator]
        return logits


def score_all(plan: Blueprint, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float32]:
    """Return the logit of every item, shape (items,)."""
    items = len(shared[plan.tables[0]])
    values = {name: torch.tensor(array) for name, array in shared.arrays.items()}
    values |= {name: torch.tensor(private[name], dtype=torch.float32) for name in plan.private}
    with one_thread(), torch.no_grad():
        if plan.task == "pointwise":
            return all_logits(plan, plan.whole(items), values).numpy()
        if not len(plays):
            return np.zeros(items, np.float32)
        history, last = window(plays, plan.length)
        return all_logits(plan, plan.whole(items), values, torch.from_numpy(history), torch.tensor(last)).numpy()


def window(plays: Plays, length: int) -> tuple[NDArray[np.int64], int]:
    """Return the latest plays, filled at the end, shape (length,), and the place of the last."""
    latest = in_order(plays)[-length:].astype(np.int64)
    return np.append(latest, np.full(length - len(latest), latest[-1])), len(latest) - 1


def all_logits(
    plan: Blueprint,
    module: nn.Module,
    values: Mapping[str, Tensor],
    history: Tensor | None = None,
    last: Tensor | None = None,
) -> Tensor:
    """Return the logit of every item for one person, shape (items,). It can be mapped over people.

    Args:
        plan: of the module.
        module: as it is, made beforehand: :meth:`Blueprint.whole`.
        values: all its parameters by array name.
        history: of a person, shape (length,), where the module is one of sequences.
        last: the last place of it that is filled.
    """
    items = len(values[plan.tables[0]])
    named = {name.replace("/", "."): value for name, value in values.items()}
    if history is None or last is None:
        logits: Tensor = functional_call(module, named, (torch.arange(items),))
        return logits
    if hasattr(module, "scores"):
        inside = {f"module.{name}": value for name, value in named.items()}
        own: Tensor = functional_call(_Scoring(module), inside, (history, last))
        return own
    width = sum(values[table].shape[-1] for table in plan.tables)
    block = max(1, _CANDIDATE_FLOATS // (plan.length * width))
    found = []
    for start in range(0, items, block):
        candidates = torch.arange(start, min(start + block, items)).expand(plan.length, -1)
        places: Tensor = functional_call(module, named, (history, candidates))
        found.append(places.index_select(0, last.reshape(1)).squeeze(0))
    return torch.cat(found)
