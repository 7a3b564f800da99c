"""Accuracy against ε and population, and what it costs when devices add the noise themselves: tables in Markdown.

    python simulations/recipes/privacy_tables.py split.npz [more.npz ...] --out tables.md
    python simulations/recipes/privacy_tables.py split.npz --model ease --times 1 --recency 10

Figures are test NDCG@10, means over seeds; each seed draws new noise, so a second run differs in the last digit. A
population ``x10`` is the same people, each of whom stands for ten: figures are taken over the people, once each. No
setting is chosen on anyone's history. A half-life given with --recency adds a row where histories carry times.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

from fedpersona.cli import one_sentence
from fedpersona.simulation import RunConfig, RunRecord, Split, load_split, simulate
from fedpersona.simulation.show import human_bytes
from fedpersona.taste import MODELS

EPSILONS = (1.0, 2.0, 4.0, 8.0)
LARGEST = max(EPSILONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="+")
    parser.add_argument("--model", choices=MODELS, action="append", help="only this model; repeatable")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100], help="devices that a person stands for")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--recency", type=float, help="half-life in items, for one more row where there are times")
    parser.add_argument("--out", type=Path, help="also leave the tables here")
    options = parser.parse_args()

    lines = []
    for line in tables(options):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tables(options: argparse.Namespace) -> Iterator[str]:
    for dataset in options.dataset:
        split = load_split(RunConfig(dataset=dataset))
        timed = options.recency is not None and split.train.timed
        models = options.model or list(MODELS)
        yield f"\n## {split.name}: {len(split.train):,} people, {len(split.catalogue):,} items, δ = {options.delta:g}\n"
        epsilons = " | ".join(f"ε = {epsilon:g}" for epsilon in EPSILONS)
        yield f"| model | recency | people | {epsilons} | no noise |\n|---|---|---:|{'---:|' * (len(EPSILONS) + 1)}"
        distributed = []
        for model in models:
            halves = [None, options.recency] if timed and model != "popularity" else [None]
            for half_life in halves:
                plain = without_noise(dataset, split, model, half_life)
                for times in options.times:
                    central = runs(options, dataset, split, model, half_life, times, "central")
                    yield row(split, model, half_life, times, central, plain)
                    if half_life is None:
                        others = runs(options, dataset, split, model, half_life, times, "distributed")
                        distributed.append(beside(split, model, times, central, others))
        yield f"\nWho adds the noise, at ε = {LARGEST:g}; shares of nine tenths of the devices make it whole.\n"
        yield "| model | people | central | sent | distributed | sent |\n|---|---:|---:|---:|---:|---:|"
        yield from distributed


def runs(
    options: argparse.Namespace,
    dataset: str,
    split: Split,
    model: str,
    half_life: float | None,
    times: int,
    noise: str,
) -> list[RunRecord]:
    """Train at every ε, once a seed."""
    return [
        simulate(
            RunConfig(
                dataset=dataset,
                model=model,
                seed=seed,
                epsilon=LARGEST,
                epsilons=tuple(epsilon for epsilon in EPSILONS if epsilon != LARGEST and noise == "central"),
                delta=options.delta,
                noise="distributed" if noise == "distributed" else "central",
                replicate=times,
                recency="off" if half_life is None else half_life,
                ceiling=False,
            ),
            split=split,
        ).record
        for seed in range(options.seeds)
    ]


def without_noise(dataset: str, split: Split, model: str, half_life: float | None) -> float:
    """Return the figure of the model on everyone once, without noise and with the same serving."""
    recency = "off" if half_life is None else half_life
    config = RunConfig(dataset=dataset, model=model, recency=recency, discount=0.0, ceiling=False)
    return simulate(config, split=split).record.federated.test["ndcg@10"]


def row(
    split: Split, model: str, half_life: float | None, times: int, records: Sequence[RunRecord], plain: float
) -> str:
    curves = [record.privacy.curve for record in records if record.privacy is not None]
    figures = " | ".join(f"{fmean(point.ndcg for point in points):.4f}" for points in zip(*curves, strict=True))
    recency = "off" if half_life is None else f"{half_life:g}"
    return f"| {model} | {recency} | {len(split.train) * times:,} (x{times}) | {figures} | {plain:.4f} |"


def beside(split: Split, model: str, times: int, central: Sequence[RunRecord], others: Sequence[RunRecord]) -> str:
    cells = [model, f"{len(split.train) * times:,} (x{times})"]
    for records in (central, others):
        cells.append(f"{fmean(record.federated.test['ndcg@10'] for record in records):.4f}")
        cells.append(human_bytes(records[0].federated.bytes_up or 0))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(one_sentence(main))
