"""A million listens on a device: import, what a taste model takes, opening, size and peak memory.

    python simulations/benchmarks/device_vault.py
    python simulations/benchmarks/device_vault.py --listens 100000

Prints one JSON object. The limits it is held against: 1,000,000 listens are imported in 60 s, ``plays()`` for a
catalogue of 50,000 takes 1 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from fedpersona.catalogue import Catalogue
from fedpersona.device.clock import Clock
from fedpersona.device.keys import open_key
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.sources.listen import Listen

Result = TypeVar("Result")
NOW = 1_760_000_000
YEARS = 2 * 365 * 86_400 - 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listens", type=int, default=1_000_000)
    parser.add_argument("--tracks", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--folder", help="where to write; by default the system's folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(measure(Path(folder), options.listens, options.tracks, options.items), indent=2))


def measure(folder: Path, listens: int, tracks: int, items: int) -> dict[str, object]:
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - began, 3)
        return result

    catalogue = Catalogue.create(
        [f"t{n}" for n in range(items)],
        titles=[f"The Song of {n}" + " (Remastered 2011)" * (n % 5 == 0) for n in range(items)],
        artists=[f"Band Number {n % 4000}" for n in range(items)],
        kind="track",
    )
    key = timed("making the key", lambda: open_key(folder, "a passphrase", None))
    store = timed("making the store", lambda: Store(folder / "vault.db", key.secret))
    vault = Vault(store, Clock(store, lambda: NOW))
    before = peak_megabytes()
    added = timed("import", lambda: vault.add(history(listens, tracks)))
    peak = peak_megabytes()
    again = timed("the same import again", lambda: vault.add(history(listens, tracks)))
    store.close()

    secret = timed("opening the key", lambda: open_key(folder, "a passphrase", None)).secret
    store = timed("opening the store", lambda: Store(folder / "vault.db", secret))
    vault = timed("opening the vault", lambda: Vault(store, Clock(store, lambda: NOW)))
    _ = catalogue.version
    plays = timed("plays, the first time", lambda: vault.plays(catalogue))
    timed("plays, once more", lambda: vault.plays(catalogue))
    timed("count", vault.count)
    timed("by month", vault.by_month)
    timed("top artists", vault.top_artists)
    timed("check of every page", store.check)
    size = (folder / "vault.db").stat().st_size
    timed("deleting half", lambda: setattr(vault, "retention_days", 365))
    smaller = (folder / "vault.db").stat().st_size
    store.close()
    return {
        "listens": listens,
        "kept": added.new,
        "new at the second import": again.new,
        "items played": len(plays),
        "seconds": seconds,
        "megabytes on disk": round(size / 1e6, 1),
        "after deleting half": round(smaller / 1e6, 1),
        "peak megabytes": {"before": before, "after the import": peak, "at the end": peak_megabytes()},
    }


def history(listens: int, tracks: int) -> Iterator[Listen]:
    """Invent a history in the order of time, over tracks that are played by a power law."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(NOW - YEARS, NOW, listens))
    chosen = np.minimum((tracks * rng.random(listens) ** 2.5).astype(np.int64), tracks - 1)
    for at, track in zip(times.tolist(), chosen.tolist(), strict=True):
        ids = (f"spotify:track:{track:022d}",)
        yield Listen(at, f"Band Number {track % 4000}", f"The Song of {track}", ids, 200)


def peak_megabytes() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


if __name__ == "__main__":
    main()
