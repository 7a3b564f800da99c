"""How one device trains a factor model on its own plays: the readable form, in float64.

A minibatch's gradients are all taken at the values before it (plain stochastic gradient descent, each sample weighing
one over the batch); an item that is in it twice moves by both. The compiled form of the simulator is held equal to
this one on the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedpersona.taste.gradient.sampling import Stream, Triples, draw_epoch, draw_triples, split_history

__all__ = ["Loss", "Order", "Part", "Recipe", "Samples", "Trained", "descend", "draw_passes", "follow"]

Loss = Literal["bce", "bpr"]
"""Binary cross-entropy of single items, or Bayesian personalised ranking of pairs (Rendle et al. 2009)."""

Order = Literal["together", "alternate", "rebuild"]
"""Which parts move: the person and the items in one step (FedMF), first the person and then the items in every step
(PFedRec), or first the person alone, from nothing, and then the items alone (FedRecon)."""

Part = Literal["both", "alternate", "person", "items"]
"""What one pass moves."""

_FAR = 1e12
"""No training that went well comes so far from nothing; beyond it float32 soon has no numbers."""


@dataclass(frozen=True)
class Recipe:
    """All that decides how a device trains."""

    loss: Loss
    order: Order
    epochs: int
    """Passes that move items."""
    batch: int
    """Samples of a step."""
    negatives: int
    """For each play."""
    lr: float
    """Step of the person's part."""
    item_lr: float
    """Step of the items."""
    prox: float = 0.0
    """FedProx: how strongly items are held to where the round began; they are drawn back after every step that moves
    them, by the proximal operator of the term, which is stable for any step."""
    bias: bool = False
    """Whether a person has a bias beside the vector."""
    rebuild_epochs: int = 0
    """Passes that rebuild the person, in the order ``rebuild``."""
    support: float = 1.0
    """Share of the plays that the person is rebuilt from; items are trained on the others."""


@dataclass(eq=False)
class Trained:
    """One device after its training."""

    vector: NDArray[np.float64]
    """Shape (dim,)."""
    bias: float
    touched: NDArray[np.int32]
    """Items that were looked up, increasing, shape (touched,)."""
    change: NDArray[np.float64]
    """What they moved by, shape (touched, dim)."""


def descend(
    items: NDArray[np.floating],
    history: NDArray[np.int32],
    vector: NDArray[np.floating],
    bias: float,
    key: int | np.uint64,
    recipe: Recipe,
    weights: NDArray[np.floating] | None = None,
) -> Trained:
    """Train one device.

    Args:
        items: the shared item table, shape (items, dim).
        history: rows of all it played, increasing, shape (n,).
        vector: the person's vector as it begins, shape (dim,); the order ``rebuild`` begins with nothing instead.
        bias: the person's bias as it begins.
        key: begins the stream of the device's draws in this round.
        recipe: how to train.
        weights: how much each play of the history counts where the person is rebuilt, by default alike, shape (n,).

    Returns:
        the person, and what the items that were looked up moved by. A training that leaves the range of numbers, as
        one of absurd steps does, moves nothing: whoever asks for it must not learn from a failure who played what.
    """
    passes = list(draw_passes(Stream(key), history, len(items), recipe))
    rebuilt = recipe.order == "rebuild"
    start = np.zeros(items.shape[1]) if rebuilt else np.array(vector, np.float64)
    return follow(items, history, passes, start, 0.0 if rebuilt else float(bias), recipe, weights)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of either loss, in the order of training."""

    rows: tuple[NDArray[np.int32], ...]
    """Items, or played ones and others beside them: a sample is an item's score, or the difference of two."""
    labels: NDArray[np.float64]
    """1 where the score should be high, 0 where it should be low, shape (samples,)."""

    @property
    def size(self) -> int:
        """How many."""
        return len(self.labels)

    def cut(self, first: int, size: int) -> Samples:
        """Return some that follow each other."""
        return Samples(tuple(rows[first : first + size] for rows in self.rows), self.labels[first : first + size])


def draw_passes(
    stream: Stream, history: NDArray[np.int32], items: int, recipe: Recipe
) -> Iterator[tuple[Part, Samples]]:
    """Yield every pass of a round: which part it moves, and its samples; arguments as of :func:`descend`."""

    def epoch(positives: NDArray[np.int32]) -> Samples:
        if recipe.loss == "bpr":
            pairs: Triples = draw_triples(stream, positives, history, items, recipe.negatives)
            return Samples((pairs.played, pairs.others), np.ones(len(pairs.played)))
        drawn = draw_epoch(stream, positives, history, items, recipe.negatives)
        return Samples((drawn.items,), drawn.labels.astype(np.float64))

    if recipe.order != "rebuild":
        for _ in range(recipe.epochs):
            yield ("both" if recipe.order == "together" else "alternate"), epoch(history)
        return
    support, query = split_history(stream, history, recipe.support)
    for _ in range(recipe.rebuild_epochs):
        yield "person", epoch(support)
    for _ in range(recipe.epochs):
        yield "items", epoch(query)


def follow(
    items: NDArray[np.floating],
    history: NDArray[np.int32],
    passes: Sequence[tuple[Part, Samples]],
    vector: NDArray[np.float64],
    bias: float,
    recipe: Recipe,
    weights: NDArray[np.floating] | None = None,
) -> Trained:
    """Take the steps of passes whose samples were drawn; arguments and result as of :func:`descend`."""
    seen = [rows for _, samples in passes for rows in samples.rows]
    touched = np.unique(np.concatenate([history, *seen])).astype(np.int32)
    arena = _Arena(touched, items[touched].astype(np.float64), vector, bias)
    counts = np.ones(len(items) if weights is not None else 0)
    if weights is not None:
        counts[history] = weights
    with np.errstate(over="ignore", invalid="ignore"):
        for part, samples in passes:
            for first in range(0, samples.size, recipe.batch):
                _step(arena, samples.cut(first, recipe.batch), part, recipe, counts)
        change = arena.rows - arena.base
    if all(np.abs(part).max(initial=0.0) <= _FAR for part in (change, arena.vector, np.array([arena.bias]))):
        return Trained(arena.vector, arena.bias, touched, change)
    return Trained(vector, bias, touched, np.zeros_like(change))


@dataclass(eq=False)
class _Arena:
    """The rows that a device looks up, and the person, while it trains."""

    touched: NDArray[np.int32]
    base: NDArray[np.float64]
    rows: NDArray[np.float64] = field(init=False)
    vector: NDArray[np.float64]
    bias: float

    def __post_init__(self) -> None:
        self.rows = self.base.copy()

    def slots(self, items: NDArray[np.int32]) -> NDArray[np.intp]:
        """Return where these items' rows are."""
        return np.searchsorted(self.touched, items)


def _step(arena: _Arena, samples: Samples, part: Part, recipe: Recipe, counts: NDArray[np.float64]) -> None:
    """Take one step on one minibatch."""
    slots = [arena.slots(rows) for rows in samples.rows]
    features = arena.rows[slots[0]] if len(slots) == 1 else arena.rows[slots[0]] - arena.rows[slots[1]]
    vector = arena.vector
    slope = _slope(features @ vector + (arena.bias if recipe.bias else 0.0), samples.labels)
    if part == "person" and counts.size:
        slope = slope * np.where(samples.labels == 1.0, counts[samples.rows[0]], 1.0)
    if part != "items":
        arena.vector = vector - recipe.lr * (slope @ features)
        if recipe.bias and recipe.loss == "bce":
            arena.bias -= recipe.lr * float(slope.sum())
    if part == "alternate":  # items follow the person who has just moved
        vector = arena.vector
        slope = _slope(features @ vector + (arena.bias if recipe.bias else 0.0), samples.labels)
    if part == "person":
        return
    moves = recipe.item_lr * np.outer(slope, vector)
    np.subtract.at(arena.rows, slots[0], moves)
    if len(slots) == 2:
        np.add.at(arena.rows, slots[1], moves)
    if recipe.prox:
        arena.rows = arena.base + (arena.rows - arena.base) / (1.0 + recipe.item_lr * recipe.prox)


def _slope(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivative of the mean loss by each logit: (sigmoid(z) - y) / samples, without overflow."""
    return np.asarray((0.5 * (1.0 + np.tanh(0.5 * logits)) - labels) / len(logits), np.float64)
