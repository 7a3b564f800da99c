"""Figures of fitted models, all over the same people, with serving chosen on validation items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.evaluation import Evaluation, evaluate, quick_ndcg
from fedpersona.simulation.population import Split
from fedpersona.simulation.record import Result, RoundFigures, ServingChoice
from fedpersona.simulation.scoring import PersonalScorer, RawScores, Scorer, Serving, serve
from fedpersona.simulation.tuning import choose_serving

__all__ = ["Measured", "Measurement"]


@dataclass(frozen=True, eq=False)
class Measured:
    """One model, measured."""

    result: Result
    evaluation: Evaluation
    """On test items, person by person."""
    tried: list[ServingChoice]


class Measurement:
    """Measures models on one split.

    Args:
        split: the data.
        people: positions of those that figures are taken over.
        seed: keys the bootstrap.
    """

    def __init__(self, split: Split, people: NDArray[np.int64], seed: int) -> None:
        self.split = split
        self.people = people
        self.seed = seed
        self.raw = RawScores(split.train)

    def measure(
        self,
        name: str,
        role: Literal["floor", "federated", "ceiling"],
        scorer: Scorer | PersonalScorer,
        *,
        recency: Literal["auto", "off"] | float,
        discount: Literal["auto"] | float,
        **cost: Any,
    ) -> Measured:
        """Choose the serving on validation items, then measure on test items. ``cost`` are fields of ``Result``."""
        choice, tried = choose_serving(
            self.split, scorer, self.raw, recency=recency, discount=discount, people=self.people
        )
        scores = serve(scorer, self.raw, Serving(choice.recency, choice.discount))
        val = evaluate(self.split, scores, on="val", people=self.people, seed=self.seed, details=False)
        test = evaluate(self.split, scores, on="test", people=self.people, seed=self.seed)
        result = Result(
            name=name,
            role=role,
            serving=choice,
            val=val.metrics,
            test=test.metrics,
            intervals=test.intervals,
            sampled=test.sampled,
            discovery=test.discovery,
            tertiles=test.tertiles,
            **cost,
        )
        return Measured(result, test, tried)

    def curve(
        self,
        reports: list[RoundReport],
        scorers: Mapping[int, Scorer | PersonalScorer],
        choice: ServingChoice,
        measured: Mapping[int, float],
    ) -> list[RoundFigures]:
        """Return every round's report, with accuracy where the round's model was kept or measured on the way."""
        return [
            RoundFigures(
                **vars(report),
                **self._accuracy(scorers.get(report.round_number), choice),
                val_ndcg_meanwhile=measured.get(report.round_number),
            )
            for report in reports
        ]

    def on_the_way(self, scorer: Scorer | PersonalScorer, serving: Serving) -> float:
        """Return NDCG@10 on validation items while a model is trained."""
        return quick_ndcg(self.split, serve(scorer, self.raw, serving), on="val", people=self.people)

    def _accuracy(self, scorer: Scorer | PersonalScorer | None, choice: ServingChoice) -> dict[str, float]:
        if scorer is None:
            return {}
        scores = serve(scorer, self.raw, Serving(choice.recency, choice.discount))
        return {
            "val_ndcg": quick_ndcg(self.split, scores, on="val", people=self.people),
            "test_ndcg": quick_ndcg(self.split, scores, on="test", people=self.people),
        }
