"""Modules as a researcher would bring them, small."""

from __future__ import annotations

import torch
from torch import nn


class Bilinear(nn.Module):
    """Pointwise, with a private vector, a shared bias of items and a shared map."""

    tables = ("item", "offset")
    private = ("person",)

    def __init__(self, items, dim=6):
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.offset = nn.Embedding(items, 1)
        self.person = nn.Parameter(torch.randn(dim))
        self.map = nn.Linear(dim, dim)

    def forward(self, items):
        return torch.tanh(self.map(self.item(items))) @ self.person + self.offset(items).squeeze(-1)


class Recurrent(nn.Module):
    """A gated recurrent unit over the history, written out, with a private start."""

    tables = ("item",)
    private = ("start",)
    task = "sequence"
    length = 7

    def __init__(self, items, dim=5):
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.start = nn.Parameter(torch.zeros(dim))
        self.inward, self.onward = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)

    def forward(self, history, candidates):
        inward, state, states = self.inward(self.item(history)), self.start, []
        for place in range(history.shape[0]):
            reset, update, new = inward[place].chunk(3)
            reset_on, update_on, new_on = self.onward(state).chunk(3)
            gate = torch.sigmoid(update + update_on)
            state = gate * state + (1 - gate) * torch.tanh(new + torch.sigmoid(reset + reset_on) * new_on)
            states.append(state)
        return (self.item(candidates) @ torch.stack(states).unsqueeze(-1)).squeeze(-1)


class Attending(nn.Module):
    """Causal attention over the history, with torch's own layer."""

    tables = ("item", "target")
    task = "sequence"
    length = 6

    def __init__(self, items, dim=4):
        super().__init__()
        self.item, self.target = nn.Embedding(items, dim), nn.Embedding(items, dim)
        self.place = nn.Parameter(torch.randn(self.length, dim))
        self.layer = nn.TransformerEncoderLayer(dim, 2, 8, dropout=0.0, batch_first=True, norm_first=True)
        self.register_buffer("later", torch.ones(self.length, self.length, dtype=torch.bool).triu(1))

    def forward(self, history, candidates):
        states = self.layer((self.item(history) + self.place).unsqueeze(0), src_mask=self.later).squeeze(0)
        return (self.target(candidates) * states.unsqueeze(1)).sum(-1)
