"""What the weekly list costs and brings, next to the raw ranking it is made from.

    python simulations/recipes/weekly_list.py
    python simulations/recipes/weekly_list.py --people 5000 --weeks 8

Trains the subspace on invented people and makes each of them a list for several weeks, as their own device would,
from all they played but one item. Each item's place tells how well the list does: NDCG@10 is taken from the list as it
is delivered, artist cap, exploration and all, and what it loses against the raw ranking is shown. Three ways to weigh
old plays are compared: all alike, the half-life that the devices share by choosing on validation items, and the one
that each device takes from how much its owner played in the last 30 days.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fedpersona.cli import one_sentence
from fedpersona.device.playlist import WeeklyConfig, weekly_list
from fedpersona.device.weekly import DISCOUNT, half_life_items
from fedpersona.plays import Plays
from fedpersona.simulation import Run, RunConfig, Split, simulate
from fedpersona.simulation.evaluation import people_sample
from fedpersona.simulation.evaluation.discovery import (
    coverage,
    gini,
    intra_list_diversity,
    mainstream_tertiles,
    novelty_bits,
)
from fedpersona.simulation.evaluation.ranking import full_ranks, ndcg_at, recall_at, top_items

MONDAY = date(2026, 1, 5)
HalfLife = Callable[[Plays], float | None]


@dataclass(frozen=True)
class Figures:
    """Of one way to weigh old plays: the raw ranking, the list of the first week, and the promises of all weeks."""

    query: str
    raw: dict[str, float]
    """``ndcg@10``, ``recall@30``, ``mainstream``, ``niche``, ``gap``, ``coverage``, ``gini``, ``novelty``,
    ``diversity``."""
    delivered: dict[str, float]
    """The same of the list as delivered."""
    found: float
    """Share of people whose held-out item was on one of their lists, in whatever week."""
    heard: int
    """Items on any list that their listener had played."""
    most_of_an_artist: int
    """On any list."""
    overlap: float
    """Largest share of a list that was on the same person's list of the week before."""

    @property
    def loss(self) -> float:
        """NDCG@10 that the list gives up against the raw ranking."""
        return self.raw["ndcg@10"] - self.delivered["ndcg@10"]


def known(split: Split, person: int) -> Plays:
    """Return all that the person's device has: everything they played but the test item."""
    plays = split.everything(person)
    kept = plays.items != split.test[person]
    times = None if plays.last_played is None else plays.last_played[kept]
    return Plays(plays.items[kept], plays.weights[kept], times)


def half_lives(run: Run) -> dict[str, HalfLife]:
    """Return the ways to weigh old plays that are compared, by what they are called."""
    return {
        "all plays alike": lambda plays: None,
        f"half-life {run.model.recency or 'off'}, as chosen": lambda plays: run.model.recency,
        "half-life of 30 days": half_life_items,
    }


def measure(
    run: Run, query: str, half_life: HalfLife, people: NDArray[np.int64], weeks: int, config: WeeklyConfig
) -> Figures:
    """Make everyone's lists of all weeks, and measure them."""
    split, catalogue = run.split, run.split.catalogue
    ranks = np.zeros(len(people), np.int64)
    raw = np.full((len(people), config.length), -1, np.int32)
    lists = np.full((weeks, *raw.shape), -1, np.int32)
    heard = 0
    for place, person in enumerate(people.tolist()):
        plays = known(split, person)
        model = run.model.model_copy(update={"recency": half_life(plays), "discount": DISCOUNT})
        scores = model.scores(run.shared, model.personalise(run.shared, plays), plays)
        masked = (np.array([0, len(plays)]), plays.items)
        ranks[place] = full_ranks(scores[None], split.test[[person]], masked)[0]
        raw[place] = top_items(scores[None], masked, config.length)[0]
        for week, rows in enumerate(_weeks(scores, plays, run, person, weeks, config)):
            lists[week, place, : len(rows)] = rows
        heard += int(np.isin(lists[:, place], plays.items).sum())
    targets = split.test[people]
    found = lists == targets[None, :, None]
    first = np.where(found[0].any(axis=1), found[0].argmax(axis=1), len(catalogue))
    return Figures(
        query=query,
        raw=_figures(ranks, raw, split, people),
        delivered=_figures(first, lists[0], split, people),
        found=float(found.any(axis=(0, 2)).mean()),
        heard=heard,
        most_of_an_artist=max(_most(rows, catalogue.artists) for week in lists for rows in week),
        overlap=max(
            (_share(now, then) for person in range(len(people)) for then, now in pairwise(lists[:, person])),
            default=0.0,
        ),
    )


def _weeks(
    scores: NDArray[np.float64], plays: Plays, run: Run, person: int, weeks: int, config: WeeklyConfig
) -> list[NDArray[np.int64]]:
    made: list[NDArray[np.int64]] = []
    for week in range(weeks):
        year, number, _ = (MONDAY + timedelta(weeks=week)).isocalendar()
        picks = weekly_list(
            scores,
            plays,
            run.split.catalogue,
            week=(year, number),
            person_key=person,
            config=config,
            previous=made,
        )
        made.append(np.array([pick.row for pick in picks], np.int64))
    return made


def _figures(
    ranks: NDArray[np.int64], lists: NDArray[np.int32], split: Split, people: NDArray[np.int64]
) -> dict[str, float]:
    accuracy = ndcg_at(ranks, 10)
    groups = mainstream_tertiles(split.train, people, {"ndcg@10": accuracy})
    return {
        "ndcg@10": float(accuracy.mean()),
        "recall@30": float(recall_at(ranks, 30).mean()),
        **{name: groups.get(name, {}).get("ndcg@10", float("nan")) for name in ("mainstream", "niche", "gap")},
        "coverage": coverage(lists, len(split.catalogue)),
        "gini": gini(lists, len(split.catalogue)),
        "novelty": novelty_bits(lists, split.train),
        "diversity": intra_list_diversity(lists, split.train),
    }


def _most(rows: NDArray[np.int32], artists: Sequence[str]) -> int:
    return max(Counter(artists[row] for row in rows if row >= 0 and artists[row]).values(), default=0)


def _share(rows: NDArray[np.int32], before: NDArray[np.int32]) -> float:
    rows = rows[rows >= 0]
    return float(np.isin(rows, before).mean()) if rows.size else 0.0


def tables(figures: Sequence[Figures], weeks: int) -> list[Table]:
    """Return what was measured, as two tables."""
    quality = Table("plays weighed", "list", *figures[0].raw, title="the first week, next to the raw ranking")
    promises = Table(
        "plays weighed",
        "NDCG@10 lost",
        f"found in {weeks} weeks",
        "heard before",
        "most of an artist",
        "overlap with last week, at most",
        title=f"{weeks} weeks",
    )
    for one in figures:
        for name, values in (("raw", one.raw), ("delivered", one.delivered)):
            digits = (f"{value:.2f}" if key == "novelty" else f"{value:.3f}" for key, value in values.items())
            quality.add_row(one.query, name, *digits)
        share = f" ({one.loss / one.raw['ndcg@10']:.0%})" if one.raw["ndcg@10"] else ""
        promises.add_row(
            one.query,
            f"{one.loss:.4f}{share}",
            f"{one.found:.3f}",
            str(one.heard),
            str(one.most_of_an_artist),
            f"{one.overlap:.0%}",
        )
    return [quality, promises]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="synthetic", help="a dataset's name or an .npz split")
    parser.add_argument("--people", type=int, help="size of an invented population; 2,000 unless told")
    parser.add_argument("--measure", type=int, default=1000, help="people to make lists for, at most")
    parser.add_argument("--weeks", type=int, default=4)
    parser.add_argument("--data", help="folder with the original files of a real dataset")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.weeks < 1:
        parser.error("give at least one week")
    people = options.people or (2000 if options.dataset == "synthetic" else None)
    config = RunConfig(
        dataset=options.dataset, people=people, data=options.data, seed=options.seed, model="subspace", ceiling=False
    )
    run = simulate(config)
    chosen = people_sample(run.split, options.measure, options.seed)
    figures = [
        measure(run, query, half_life, chosen, options.weeks, WeeklyConfig())
        for query, half_life in half_lives(run).items()
    ]
    console = Console()
    console.print(f"{run.split.train!r}, lists of {len(chosen):,} people, discount {DISCOUNT}")
    for table in tables(figures, options.weeks):
        console.print(table)


if __name__ == "__main__":
    raise SystemExit(one_sentence(main))
