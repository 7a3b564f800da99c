"""Every taste model on one dataset, side by side with intervals and a paired test.

    python simulations/recipes/compare_models.py synthetic
    python simulations/recipes/compare_models.py lastfm-2k --data ~/data --out runs/lastfm

Leaves a run folder a model below ``--out`` and prints the table in Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fedpersona.cli import one_sentence
from fedpersona.simulation import RunConfig, load_split, simulate
from fedpersona.simulation.compare import compare
from fedpersona.simulation.output import check_writable, write_run
from fedpersona.taste import MODELS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="synthetic, lastfm-2k, ml-100k, ml-1m, or an .npz split")
    parser.add_argument("--data", help="folder with original files")
    parser.add_argument("--people", type=int, help="synthetic people")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/compare-models"))
    options = parser.parse_args()

    folders = [options.out / name for name in MODELS]
    for folder in folders:
        check_writable(folder)
    configs = [
        RunConfig(dataset=options.dataset, data=options.data, people=options.people, model=name, seed=options.seed)
        for name in MODELS
    ]
    split = load_split(configs[0])
    for config, folder in zip(configs, folders, strict=True):
        write_run(simulate(config, split=split), folder)
    print(compare(folders, style="markdown"))


if __name__ == "__main__":
    raise SystemExit(one_sentence(main))
