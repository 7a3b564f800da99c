"""The module of FedNCF: it keeps to the convention that modules of one's own do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Perceptron"]

_STRETCH = 4.0
"""Vectors are taken so many times as long as they are stored: one step moves them by the square of it beside the
perceptron, of whose entries every sample has a part, where a vector is in one or two."""


class Perceptron(nn.Module):
    """Scores an item by the weighted product of the person's vector and the item's, and a perceptron over both.

    The perceptron begins with an output of nothing, and the product with weights of one: what is learned first is a
    factorisation, as where He et al. 2017 (section 3.4.1) train both parts beforehand.

    Args:
        items: rows of the catalogue.
        dim: length of a vector.
        width: of the first hidden layer.
    """

    tables = ("item",)
    private = ("person",)

    def __init__(self, items: int, dim: int = 32, width: int = 32) -> None:
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.person = nn.Parameter(torch.randn(dim) * (0.1 / _STRETCH))
        self.product = nn.Parameter(torch.ones(dim))
        output = nn.Linear(width // 2, 1)
        self.layers = nn.Sequential(
            nn.Linear(2 * dim, width), nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU(), output
        )
        nn.init.normal_(self.item.weight, std=0.1 / _STRETCH)
        nn.init.zeros_(output.weight)
        nn.init.zeros_(output.bias)

    def forward(self, items: Tensor) -> Tensor:
        """Return logits (n,) for item ids (n,)."""
        vectors, person = self.item(items) * _STRETCH, self.person * _STRETCH
        both = torch.cat([person.expand_as(vectors), vectors], dim=-1)
        logits: Tensor = self.layers(both).squeeze(-1) + vectors @ (self.product * person)
        return logits
