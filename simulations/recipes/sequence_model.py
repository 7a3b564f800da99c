"""A model of one's own in a file: a small causal transformer over what was played last (Kang and McAuley 2018).

    fedpersona simulate ml-100k --data FOLDER --model torch:simulations/recipes/sequence_model.py
    fedpersona simulate ml-100k --data FOLDER --model torch:simulations/recipes/sequence_model.py --set dim=64

The class below is all that a researcher writes; ``fedpersona/taste/neural/blueprint.py`` tells what it has to have.
Nothing of it is private: what a person likes next follows from what they played last, which the device knows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softmax


class NextPlay(nn.Module):
    """One block of causal self-attention over the latest plays, which scores what comes next."""

    tables = ("item",)
    task = "sequence"
    length = 50
    defaults = {"rounds": 100, "lr": 0.5, "server": "adam", "server_lr": 0.03, "server_tau": 1e-4}  # noqa: RUF012 - read, never changed

    def __init__(self, items: int, dim: int = 32) -> None:
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.place = nn.Parameter(torch.randn(self.length, dim) * 0.1)
        self.before, self.between, self.after = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.wide, self.narrow = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.register_buffer("later", torch.full((self.length, self.length), -1e9).triu(1))
        nn.init.normal_(self.item.weight, std=0.1)

    def states(self, history: Tensor) -> Tensor:
        """Return what is known at each place, (length, dim)."""
        rows = self.item(history) + self.place
        normed = self.before(rows)
        alike = self.query(normed) @ self.key(normed).transpose(0, 1) / normed.shape[-1] ** 0.5
        rows = rows + softmax(alike + self.later, dim=-1) @ self.value(normed)
        return self.after(rows + self.narrow(relu(self.wide(self.between(rows)))))

    def forward(self, history: Tensor, candidates: Tensor) -> Tensor:
        """Return logits (length, n) for ids (length,) and (length, n)."""
        return (self.item(candidates) @ self.states(history).unsqueeze(-1)).squeeze(-1)

    def scores(self, history: Tensor, last: Tensor) -> Tensor:
        """Return logits (items,) at the last place that is filled."""
        return self.item.weight @ self.states(history).index_select(0, last.reshape(1)).squeeze(0)
