"""How the models' default settings were chosen: NDCG@10 on validation items, never on test items.

    python simulations/recipes/defaults_on_validation.py split.npz [more.npz ...]

Trains each candidate once and lets the device choose recency and discount, as every run does.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Any

from fedpersona.cli import one_sentence
from fedpersona.simulation import RunConfig, load_split, simulate

CANDIDATES: dict[str, dict[str, list[Any]]] = {
    "subspace": {"dim": [64, 128, 192], "alpha": [0.3, 0.4, 0.5], "shrinkage": [0.3, 1.0]},
    "ease": {"ridge": [50.0, 100.0, 200.0]},
    "ials": {"unseen": [480.0, 600.0, 700.0], "ridge": [0.007, 0.01]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="+")
    parser.add_argument("--model", choices=CANDIDATES, action="append", help="only this model; repeatable")
    options = parser.parse_args()

    print("| dataset | model | settings | NDCG@10 on validation |\n|---|---|---|---:|")
    for dataset in options.dataset:
        split = load_split(RunConfig(dataset=dataset))
        for model in options.model or CANDIDATES:
            grid = CANDIDATES[model]
            for values in product(*grid.values()):
                settings = dict(zip(grid, values, strict=True))
                config = RunConfig(dataset=dataset, model=model, settings=settings, ceiling=False)
                choice = simulate(config, split=split).record.federated.serving
                words = ", ".join(f"{name} {value:g}" for name, value in settings.items())
                print(f"| {split.name} | {model} | {words} | {choice.val_ndcg:.4f} |", flush=True)


if __name__ == "__main__":
    raise SystemExit(one_sentence(main))
