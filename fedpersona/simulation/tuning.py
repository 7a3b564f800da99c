"""The choice on validation items of what a device decides for itself. Test items have no part in it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.evaluation import quick_ndcg
from fedpersona.simulation.population import Split
from fedpersona.simulation.record import ServingChoice
from fedpersona.simulation.scoring import PersonalScorer, RawScores, Scorer, Serving, serve

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

    Nothing is trained again and nothing more is uploaded. Among equals the simpler wins: no half-life, no discount.

    Returns:
        The choice, and all that was tried.
    """
    tried: list[ServingChoice] = []

    def attempt(serving: Serving) -> ServingChoice:
        known = next((t for t in tried if (t.recency, t.discount) == (serving.recency, serving.discount)), None)
        if known is None:
            ndcg = quick_ndcg(split, serve(scorer, raw, serving), on="val", people=people)
            known = ServingChoice(recency=serving.recency, discount=serving.discount, val_ndcg=ndcg)
            tried.append(known)
        return known

    half_lives: tuple[float | None, ...]
    if recency == "auto":
        half_lives = (None, *HALF_LIVES) if split.train.timed else (None,)
    else:
        half_lives = (None,) if recency == "off" else (recency,)
    discounts = (0.0, *DISCOUNTS) if discount == "auto" else (discount,)
    best = max((attempt(Serving(half_life, discounts[0])) for half_life in half_lives), key=lambda t: t.val_ndcg)
    best = max((attempt(Serving(best.recency, d)) for d in discounts), key=lambda t: t.val_ndcg)
    return best, tried
