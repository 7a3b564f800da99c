"""The module of FedNCF: it keeps to the convention that modules of one's own do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    """Scores an item by a perceptron over the person's vector and the item's.

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
        self.person = nn.Parameter(torch.randn(dim) * 0.1)
        self.layers = nn.Sequential(
            nn.Linear(2 * dim, width), nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, 1)
        )
        nn.init.normal_(self.item.weight, std=0.1)

    def forward(self, items: Tensor) -> Tensor:
        """Return logits (n,) for item ids (n,)."""
        vectors = self.item(items)
        both = torch.cat([self.person.expand_as(vectors), vectors], dim=-1)
        logits: Tensor = self.layers(both).squeeze(-1)
        return logits
