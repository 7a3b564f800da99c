"""The choice on validation items of what a device decides for itself. Test items have no part in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.evaluation import quick_ndcgs
from fedpersona.simulation.population import Split
from fedpersona.simulation.record import ServingChoice
from fedpersona.simulation.scoring import PersonalScorer, RawScores, Scorer, Serving, discount_factor, serve

__all__ = ["DISCOUNTS", "HALF_LIVES", "choose_serving"]

HALF_LIVES: tuple[float, ...] = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
"""Half-lives that are tried, in items, next to none at all."""
DISCOUNTS: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Popularity discounts that are tried, next to none at all."""


def choose_serving(
    split: Split,
    scorer: Scorer | PersonalScorer,
    raw: RawScores,
    *,
    recency: Literal["auto", "off"] | float,
    discount: Literal["auto"] | float,
    people: NDArray[np.int64],
) -> tuple[ServingChoice, list[ServingChoice]]:
    """Choose the half-life first, then the discount, each by NDCG@10 on the validation items.

    Nothing is trained again and nothing more is uploaded. Among equals the simpler wins: no half-life, no discount. A
    scorer whose ``half_lives`` is empty has none tried: they do nothing to it, or cost people a training each.

    Returns:
        The choice, and all that was tried.
    """
    tried: list[ServingChoice] = []

    def attempt(half_life: float | None, discounts: Sequence[float]) -> None:
        """Try discounts with one half-life, people being scored once."""
        factors = [discount_factor(scorer, discount) for discount in discounts]
        plain = serve(scorer, raw, Serving(half_life))
        ndcgs = quick_ndcgs(split, plain, factors, on="val", people=people)
        for number, ndcg in zip(discounts, ndcgs, strict=True):
            tried.append(ServingChoice(recency=half_life, discount=number, val_ndcg=ndcg))

    half_lives: tuple[float | None, ...]
    if recency == "auto":
        half_lives = (None, *getattr(scorer, "half_lives", HALF_LIVES)) if split.train.timed else (None,)
    else:
        half_lives = (None,) if recency == "off" else (recency,)
    discounts: tuple[float, ...] = (discount,) if discount != "auto" else (0.0,)
    if discount == "auto" and scorer.listeners.any():  # of a model that does not know fame, no discount takes anything
        discounts += DISCOUNTS
    for half_life in half_lives:
        attempt(half_life, discounts[:1])
    best = max(tried, key=lambda t: t.val_ndcg)
    if len(discounts) > 1:
        attempt(best.recency, discounts[1:])
        best = max((t for t in tried if t.recency == best.recency), key=lambda t: t.val_ndcg)
    return best, tried
