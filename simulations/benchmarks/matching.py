"""Matching a history to a catalogue, opening a sealed catalogue, a taste by tags: seconds on one core.

    python simulations/benchmarks/matching.py
    python simulations/benchmarks/matching.py --tracks 200000 --items 100000

Prints one JSON object. The limits it is held against, at 60,000 tracks and 50,000 items: matching below 1 s with its
index, unsealing below 0.25 s, tag scores with thirty reasons below 0.2 s. With ``--people`` above 0 it also measures
the taste by tags against popularity on invented people, whose catalogue is put in the order of its listeners.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device.matching import Matcher
from fedpersona.device.starter import catalogue as starter_catalogue
from fedpersona.device.tag_taste import TagTaste
from fedpersona.plays import Plays
from fedpersona.simulation.datasets.leave_one_out import by_time
from fedpersona.simulation.environment import versions
from fedpersona.simulation.evaluation.ranking import ndcg_at
from fedpersona.simulation.population import Population
from fedpersona.simulation.synthetic import generate
from fedpersona.wire.signed_catalogue import seal, unseal

T = TypeVar("T")
Track = tuple[str, str, tuple[str, ...]]

NOTES = ("", "", "", "", "", " - Remastered 2011", " (feat. Somebody)", " (2009 Remaster)", " - Live", " (Remix)")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return round(time.perf_counter() - started, 4), result


def history(catalogue: Catalogue, tracks: int, rng: np.random.Generator) -> list[Track]:
    """Invent tracks of which a quarter is unknown, a third has notes and a fifth is live or a remix."""
    rows = rng.integers(len(catalogue), size=tracks).tolist()
    notes = rng.integers(len(NOTES), size=tracks).tolist()
    known = (rng.random(tracks) < 0.75).tolist()
    return [
        (catalogue.artists[row], (catalogue.titles[row] if is_known else f"Unknown {row}") + NOTES[note], ())
        for row, note, is_known in zip(rows, notes, known, strict=True)
    ]


def accuracy(people: int, seed: int) -> dict[str, float]:
    """Return NDCG@10 on the test items of invented people: by popularity, and by tags in two orders of rows."""
    population = generate(people=people, seed=seed)
    counts = by_time(population).train.item_counts
    famous = in_order(population, np.argsort(-counts, kind="stable"))
    mixed = in_order(population, np.random.default_rng(seed).permutation(len(counts)))
    return {
        "popularity": ndcg(famous, lambda plays, split: split.train.item_counts.astype(np.float64)),
        "tags, rows by fame": ndcg(famous, lambda plays, split: TagTaste(split.catalogue, plays).scores()),
        "tags, rows in no order": ndcg(mixed, lambda plays, split: TagTaste(split.catalogue, plays).scores()),
    }


def in_order(population: Population, order: NDArray[np.int64]) -> Population:
    """Return the same people over the same catalogue with its rows in another order."""
    old = population.catalogue
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = order.tolist()
    catalogue = Catalogue.create(
        [old.ids[row] for row in rows],
        titles=[old.titles[row] for row in rows],
        artists=[old.artists[row] for row in rows],
        tags=[old.tags[row] for row in rows],
        kind=old.kind,
    )
    people = np.repeat(np.arange(len(population)), np.diff(population.indptr))
    return Population.from_pairs(
        population.name,
        catalogue,
        people,
        place[population.items],
        person_ids=population.person_ids,
        weights=population.weights,
        times=population.times,
    )


def ndcg(population: Population, score: Callable[..., NDArray[np.float64]]) -> float:
    split = by_time(population)
    ranks = []
    for person in range(len(split.train)):
        plays = split.train.plays(person)
        scores = score(plays, split)
        target = scores[split.test[person]]
        scores[plays.items] = -np.inf
        scores[split.val[person]] = -np.inf
        ranks.append(np.count_nonzero(scores >= target) - 1)
    return round(float(ndcg_at(np.array(ranks), 10).mean()), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=60_000, help="distinct tracks of the history")
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--people", type=int, default=1000, help="invented people to measure accuracy on; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    catalogue = generate(people=1, items=options.items, seed=options.seed).catalogue
    tracks = history(catalogue, options.tracks, rng)
    key = Ed25519PrivateKey.generate()
    rows = np.sort(rng.choice(options.items, min(500, options.items), replace=False)).astype(np.int32)
    plays = Plays(rows, np.ones(rows.size, np.float32))

    loading, starter = timed(starter_catalogue)
    indexing, matcher = timed(lambda: Matcher(catalogue))
    matching, matched = timed(lambda: matcher.match(tracks))
    sealing, sealed = timed(lambda: seal(catalogue, issued=0, key=key))
    unsealing, _ = timed(lambda: unseal(sealed, [key.public_key().public_bytes_raw()]))

    def taste() -> None:
        tags = TagTaste(catalogue, plays)
        tags.scores()
        for row in range(30):
            tags.explain(row, plays)

    print(
        json.dumps(
            {
                "tracks": options.tracks,
                "items": options.items,
                "matched": round(matched.share_of_tracks, 3),
                "sealed_megabytes": round(len(sealed) / 1e6, 2),
                "seconds": {
                    f"starter catalogue ({len(starter):,} tracks)": loading,
                    "index": indexing,
                    "matching": matching,
                    "sealing": sealing,
                    "unsealing": unsealing,
                    "tag scores and thirty reasons": timed(taste)[0],
                },
                "ndcg@10": accuracy(options.people, options.seed) if options.people else None,
                "versions": versions(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
