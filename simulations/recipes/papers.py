"""Models of papers on public data, by this project's own training and evaluation, beside the papers' own figures.

    python simulations/recipes/papers.py --data ~/data
    python simulations/recipes/papers.py ml-100k --data ~/splits --rounds 120

Writes a table a dataset into ``simulations/README.md``, between two comments. A dataset is ``NAME.npz`` in the folder,
a split with 99 negatives a person, or else the original files; the folder is that of ``FEDPERSONA_DATA`` where none is
named. Gradient-trained models are trained for ``--rounds``; of about 24 rounds the one with the best NDCG@10 on
validation items counts, and test items are looked at once. No recency, no discount. Both datasets take some minutes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from published_sampler import LeakyTraining
from threadpoolctl import threadpool_limits

from fedpersona.cli import one_sentence
from fedpersona.privacy.fixed_point import smallest_ring
from fedpersona.simulation import RunConfig, Split, load_split
from fedpersona.simulation.datasets.folders import data_folder
from fedpersona.simulation.engines import make_scorer
from fedpersona.simulation.evaluation import people_sample
from fedpersona.simulation.measurement import Measurement
from fedpersona.simulation.narration import Silence
from fedpersona.simulation.record import Result
from fedpersona.simulation.scoring import Serving
from fedpersona.simulation.show import human_bytes
from fedpersona.simulation.training import train
from fedpersona.taste import GradientModel, PFedRec, create

README = Path(__file__).resolve().parents[1] / "README.md"
CLOSED = ("popularity", "subspace", "ease", "ials")
TRAINED = ("fedmf", "fedrecon", "pfedrec")
LEAKY = "pfedrec, published sampler: leaks the label"
POINTS = 24

PUBLISHED = {("ml-100k", LEAKY): (0.7162, 0.4344), ("lastfm-2k", LEAKY): (0.8238, 0.7319)}
"""HR@10 and NDCG@10 among 99 negatives, as a paper tells them for its own split (Zhang et al., IJCAI 2023, table 2)."""


@dataclass(frozen=True)
class Row:
    """One model on one dataset."""

    name: str
    result: Result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="*", help="ml-100k and lastfm-2k where none is named")
    parser.add_argument("--data", type=Path, help="folder of splits, or of original files")
    parser.add_argument("--rounds", type=int, default=120, help="of the gradient-trained models, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=README, help="file that has the place for the tables")
    options = parser.parse_args()

    for name in options.dataset or ("ml-100k", "lastfm-2k"):
        split = load_split(RunConfig(**_source(name, options.data)))
        with threadpool_limits(1):
            lines = table(name, split, rounds=options.rounds, seed=options.seed)
        print("\n".join(lines), flush=True)
        options.out.write_text(placed(options.out.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


def _source(name: str, data: Path | None) -> dict[str, Any]:
    folder = data_folder(data)
    split = None if folder is None else folder / f"{name}.npz"
    if split is not None and split.is_file():
        return {"dataset": str(split)}
    return {"dataset": name, "data": None if data is None else str(data)}


def table(name: str, split: Split, *, rounds: int, seed: int) -> list[str]:
    """Return the table of one dataset in Markdown."""
    rows = list(measured(split, rounds=rounds, seed=seed))
    lines = [
        f"**{name}**: {len(split.train):,} people, {len(split.catalogue):,} items, {split.train.interactions:,} "
        f"interactions to learn from; at most {rounds} rounds, chosen on validation items.",
        "",
        "| model | NDCG@10 | HR@10 | of 99: HR@10 | NDCG@10 | the paper's | rounds | up a device | training |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return [*lines, *(line(name, row) for row in rows)]


def line(dataset: str, row: Row) -> str:
    """Return a model's line."""
    result = row.result
    low, high = result.intervals["ndcg@10"]
    sampled = result.sampled or {}
    paper = PUBLISHED.get((dataset, row.name))
    cells = [
        row.name,
        f"{result.test['ndcg@10']:.4f} ({low:.4f} to {high:.4f})",
        f"{result.test['hr@10']:.4f}",
        *(f"{sampled[figure]:.4f}" if sampled else "–" for figure in ("hr@10", "ndcg@10")),
        "–" if paper is None else " / ".join(f"{figure:.4f}" for figure in paper),
        f"{result.rounds}",
        human_bytes(result.bytes_up or 0),
        f"{result.seconds:.1f} s",
    ]
    return f"| {' | '.join(cells)} |"


def measured(split: Split, *, rounds: int, seed: int) -> Iterator[Row]:
    """Train and measure every model, the closed-form ones first."""
    measurement = Measurement(split, people_sample(split, RunConfig(dataset="").evaluate_people, seed), seed)
    for name in (*CLOSED, *TRAINED):
        yield Row(name, trained(name, split, measurement, rounds=rounds, seed=seed))
    yield Row(LEAKY, leaky(split, measurement, rounds, seed))


def trained(name: str, split: Split, measurement: Measurement, *, rounds: int, seed: int) -> Result:
    """Return the figures of a model after the round that is best on validation items."""
    settings = {"rounds": rounds} if name in TRAINED else {}
    config = RunConfig(dataset=split.name, model=name, settings=settings, seed=seed)
    model = create(name, settings)
    training = train(model, split.train, config, Silence(), None, measurement.people)
    scorers = {
        number: make_scorer(model, shared, split.train, measurement.people, training.kept.get(number))
        for number, shared in training.models.items()
    }
    chosen = max(training.models)
    if isinstance(model, GradientModel):
        chosen = max(scorers, key=lambda number: measurement.on_the_way(scorers[number], Serving()))
    reports = training.reports[:chosen]
    return measurement.measure(
        name,
        "federated",
        scorers[chosen],
        recency="off",
        discount=0.0,
        rounds=chosen,
        bytes_up=sum(report.bytes_up for report in reports),
        bytes_down=sum(report.bytes_down for report in reports),
        seconds=sum(report.seconds_collecting + report.seconds_applying for report in reports),
    ).result


def leaky(split: Split, measurement: Measurement, rounds: int, seed: int) -> Result:
    """Return the figures of PFedRec with the published sampler, chosen likewise."""
    begun, best, chosen = time.perf_counter(), -np.inf, None
    training = LeakyTraining(PFedRec(), split, seed, every=-(-rounds // POINTS))
    for number, state in training.run(rounds):
        figure = measurement.on_the_way(state, Serving())
        print(f"published sampler: round {number}, validation {figure:.4f}, {time.perf_counter() - begun:.0f} s")
        if figure > best:
            best, chosen = figure, (number, state)
    if chosen is None:
        raise ValueError("--rounds must be at least 1")
    number, state = chosen
    layout = training.model.layout(split.catalogue, 1)
    sent = layout.size * smallest_ring(len(split.train)) // 8  # as PFedRec's own devices would send
    return measurement.measure(
        LEAKY,
        "federated",
        state,
        recency="off",
        discount=0.0,
        rounds=number,
        bytes_up=number * sent,
        seconds=state.seconds,
    ).result


def placed(text: str, name: str, lines: list[str]) -> str:
    """Return a text with the table of a dataset in its place, between two comments."""
    begin, end = f"<!-- papers {name}: begin -->", f"<!-- papers {name}: end -->"
    if begin not in text or end not in text:
        return f"{text.rstrip()}\n\n{begin}\n" + "\n".join(lines) + f"\n{end}\n"
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


if __name__ == "__main__":
    raise SystemExit(one_sentence(main))
