"""What the figures of a report mean."""

from __future__ import annotations

from fedpersona.simulation.report.blocks import Definitions, Section

__all__ = ["how_to_read"]


_PRIVACY = (
    (
        "ε, δ",
        "Differential privacy: whatever is seen is at most e^ε times as likely with a person's history as with an "
        "empty one in its place, but for a part of at most δ. Smaller is more private.",
    ),
    (
        "μ",
        "The same for Gaussian noise in one number: telling the two apart is as hard as telling two bell curves apart "
        "whose middles are μ deviations from each other. Squares of μ add up over releases.",
    ),
    (
        "PLD, RDP",
        "Two ways to count what releases cost together. Privacy loss distributions are tight; Rényi differential "
        "privacy is looser, shares no arithmetic with them, and has to lie a little above.",
    ),
    ("Noisy popularity", "Popularity under the same promise: what is left of the floor when it is protected too."),
)


def how_to_read(*, private: bool = False) -> Section:
    """Return the definitions of all terms that a report uses.

    Args:
        private: whether it tells of a promise of privacy.
    """
    return Section(
        "How to read this",
        (
            Definitions(
                (
                    ("NDCG@10", "1 / log2(1 + rank) of the held-out item if it is among the first ten, else 0."),
                    ("Recall@20, HR@10", "The share of people whose held-out item is among the first twenty, or ten."),
                    ("MRR", "The mean of 1 / rank of the held-out item."),
                    (
                        "95 % interval",
                        "Bootstrap over people: how far the mean might move with other people of the same kind. "
                        "Overlapping intervals do not mean that two models are alike; fedpersona compare tests it.",
                    ),
                    (
                        "Floor",
                        "Popularity: the most played items a person has not played, the same order for everyone.",
                    ),
                    ("Ceiling", "A model fitted with all histories in one place, which no federation needs."),
                    ("Coverage", "The share of the catalogue that is on at least one person's list of thirty."),
                    (
                        "Novelty",
                        "Mean −log2 of the share of people who play a listed item: one bit is half of the people.",
                    ),
                    ("Diversity", "One minus the mean similarity, by who plays them, of two items of a list."),
                    ("Gini", "0 if all items are listed equally often, near 1 if a few take all places."),
                    (
                        "Mainstream, niche",
                        "The third of people who already play the best known items, and the least known.",
                    ),
                    *(_PRIVACY if private else ()),
                )
            ),
        ),
    )
