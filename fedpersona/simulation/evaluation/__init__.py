"""Measuring a model so that nobody is fooled: full rankings, intervals, and what lists are like."""

from fedpersona.simulation.evaluation.evaluate import (
    Evaluation,
    HeldOut,
    Scorer,
    chance,
    evaluate,
    people_sample,
    quick_ndcg,
    quick_ndcgs,
)
from fedpersona.simulation.evaluation.intervals import PairedTest, bootstrap_interval, paired_test

__all__ = [
    "Evaluation",
    "HeldOut",
    "PairedTest",
    "Scorer",
    "bootstrap_interval",
    "chance",
    "evaluate",
    "paired_test",
    "people_sample",
    "quick_ndcg",
    "quick_ndcgs",
]
