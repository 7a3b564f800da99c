"""How alike is a synthetic population to lastfm-2k?

python simulations/recipes/population_statistics.py
python simulations/recipes/population_statistics.py --people 100000 --seed 7
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

from fedpersona.errors import InputError
from fedpersona.simulation.statistics import comparison_rows, describe
from fedpersona.simulation.synthetic import generate


def main() -> int:
    parser = argparse.ArgumentParser(description="Print a synthetic population's figures next to lastfm-2k's.")
    parser.add_argument("--people", type=int, default=2_000, help="how many people, 1 to 1,000,000")
    parser.add_argument("--items", type=int, help="how many tracks; 2.5 a person unless told, at most 50,000")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        population = generate(people=options.people, items=options.items, seed=options.seed)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    table = Table("figure", "this population", "lastfm-2k", title=repr(population))
    for row in comparison_rows(describe(population)):
        table.add_row(*row)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
