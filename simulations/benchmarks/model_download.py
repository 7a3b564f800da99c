"""What a shared model costs on its way to a device: bytes as arrays and packed, and the time to pack and to unpack it.

    python simulations/benchmarks/model_download.py
    python simulations/benchmarks/model_download.py --people 500 --items 1000

Trains each model with its default settings on invented people and prints a table, and one line for a ``subspace`` of
50,000 items and 64 dimensions that was not trained, the size that ``device.py`` measures. Times are the least of seven,
on one core. Measured on a shared x86-64 core, Python 3.11, numpy 2.4, one BLAS thread:

    model                                   bytes       packed   of it      pack    unpack  safetensors: save
    subspace, round 0                   2,580,744    2,135,635  82.8%   29.3 ms    3.6 ms             0.2 ms
    subspace, round 4                   2,580,744    2,153,975  83.5%   20.0 ms    3.1 ms             0.2 ms
    ease, round 1                     100,040,300   84,921,916  84.9%  885.0 ms  133.3 ms           109.4 ms
    ials, round 4                       1,316,616    1,093,900  83.1%   10.2 ms    1.5 ms             0.1 ms
    popularity, round 1                    20,080        4,416  22.0%    0.1 ms    0.1 ms             0.0 ms
    subspace, 50,000 x 64, round 0     13,000,496   10,690,234  82.2%  120.1 ms   16.6 ms             2.6 ms

Three of the four bytes of a trained entry are noise to any compressor; the fourth, sign and exponent, becomes a third.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from safetensors.numpy import save

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.experiment import create_model, load_split
from fedpersona.simulation.narration import Silence
from fedpersona.simulation.record import RunConfig
from fedpersona.simulation.training import train
from fedpersona.taste import Shared, Subspace
from fedpersona.taste.model_file import pack, unpack

T = TypeVar("T")

REPEATS = 7
WHOLE = (50_000, 64)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the least milliseconds that it took, and what it gave."""
    least = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = work()
        least = min(least, time.perf_counter() - started)
    return 1000 * least, result


def models(people: int, items: int, seed: int) -> Iterator[tuple[str, Shared]]:
    """Yield models by name: each trained, and the start of one."""
    config = RunConfig(dataset="synthetic", people=people, items=items, seed=seed)
    train_on = load_split(config).train
    for name in ("subspace", "ease", "ials", "popularity"):
        said = config.model_copy(update={"model": name})
        model = create_model(said)
        if name == "subspace":
            yield "subspace, round 0", model.init(train_on.catalogue, seed)
        shared = train(model, train_on, said, Silence()).shared
        yield f"{name}, round {shared.round_number}", shared
    large = Catalogue.create(f"i{number}" for number in range(WHOLE[0]))
    yield f"subspace, {WHOLE[0]:,} x {WHOLE[1]}, round 0", Subspace(dim=WHOLE[1]).init(large, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    print(f"{'model':32} {'bytes':>12} {'packed':>12} {'of it':>7} {'pack':>9} {'unpack':>9} {'safetensors: save':>18}")
    for name, shared in models(options.people, options.items, options.seed):
        packing, packed = timed(lambda shared=shared: pack(shared, {}))
        unpacking, (again, _) = timed(lambda packed=packed: unpack(packed))
        saving, saved = timed(lambda shared=shared: save(dict(shared.arrays)))
        if again.hash() != shared.hash():
            raise SystemExit(f"{name}: another model came back")
        print(
            f"{name:32} {len(saved):12,} {len(packed):12,} {len(packed) / len(saved):6.1%} {packing:6.1f} ms "
            f"{unpacking:6.1f} ms {saving:15.1f} ms"
        )


if __name__ == "__main__":
    main()
