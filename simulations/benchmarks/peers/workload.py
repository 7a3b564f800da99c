"""The workloads W and W2 to the letter, and figures of what was learned on them: numpy alone.

Matrix factorisation by federated averaging: a vector of 32 for each item, shared, and one for each person, private and
kept from round to round. In an epoch a device trains on all it played and on four items not played for each, drawn
uniformly and anew, all shuffled together: plain gradient descent on the mean binary cross-entropy of minibatches of 64,
step 5. The server follows the mean of what the item tables moved by, everyone counting alike, step 1. All vectors begin
as the same draws, standard deviation 0.1.

W: MovieLens 100K, every rating a play, each person's last held out; 100 devices a round. W2: 100,000 invented people
and 50,000 items; 1,000 devices a round.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIM, NEGATIVES, BATCH = 32, 4, 64
LR, SERVER_LR, SPREAD = 5.0, 1.0, 0.1
COHORT = {"W": 100, "W2": 1000}
NAMES = tuple(COHORT)

HOW_TO_GET = (
    "W needs MovieLens 100K, which nobody may pass on: give --data the file ml-100k.inter, the wheel it comes in "
    "(`pip download --no-deps recbole==1.2.1`), or a split of it as .npz"
)
_INSIDE_WHEEL = "recbole/dataset_example/ml-100k/ml-100k.inter"


class NoData(Exception):
    """The data of a workload is missing, or is something else."""


@dataclass(frozen=True, eq=False)
class Workload:
    """Histories as compressed rows, and what is held out of them."""

    name: str
    items: int
    indptr: NDArray[np.int64]
    """Where each person's plays begin, shape (people + 1,)."""
    indices: NDArray[np.int32]
    """What they played, increasing within a person, shape (plays,)."""
    held: NDArray[np.int32] | None
    """One item a person that nobody trains on, shape (people,); W2 has none."""
    cohort: int

    @property
    def people(self) -> int:
        return len(self.indptr) - 1

    def history(self, person: int) -> NDArray[np.int32]:
        return self.indices[self.indptr[person] : self.indptr[person + 1]]


def load(name: str, data: Path | None, cache: Path, cohort: int | None = None) -> Workload:
    """Return a workload.

    Args:
        name: ``W`` or ``W2``.
        data: of W, where MovieLens 100K is.
        cache: of W2, the folder in which it is kept after it was invented once.
        cohort: devices a round, where these are not the workload's own.

    Raises:
        NoData: there is no such file, or it holds something else.
    """
    indptr, indices, items, held = _load_w(data) if name == "W" else _load_w2(cache)
    return Workload(name, items, indptr, indices, held, cohort or min(COHORT[name], len(indptr) - 1))


Rows = tuple[NDArray[np.int64], NDArray[np.int32], int, NDArray[np.int32] | None]


def _load_w(data: Path | None) -> Rows:
    if data is None:
        raise NoData(HOW_TO_GET)
    if not data.is_file():
        raise NoData(f"there is no file {data}; {HOW_TO_GET}")
    try:
        return _from_split(data) if data.suffix == ".npz" else _from_ratings(data)
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile) as wrong:
        raise NoData(f"{data} is something else ({wrong}); {HOW_TO_GET}") from wrong


def _from_ratings(data: Path) -> Rows:
    """Ratings with their times: the last of each person is held out, the later line where times are equal."""
    if data.suffix == ".whl":
        with zipfile.ZipFile(data) as wheel, wheel.open(_INSIDE_WHEEL) as lines:
            table = np.loadtxt(lines, skiprows=1)
    else:
        table = np.loadtxt(data, skiprows=1)
    _, person = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    known, item = np.unique(table[:, 1].astype(np.int64), return_inverse=True)
    order = np.lexsort((np.arange(len(table)), table[:, 3], person))
    person, item = person[order], item[order]
    last = np.append(person[1:] != person[:-1], True)
    return *_rows(person[~last], item[~last], int(person.max()) + 1), len(known), item[last].astype(np.int32)


def _from_split(data: Path) -> Rows:
    """A leave-one-out split: its validation items are plays like the others here."""
    with np.load(data, allow_pickle=False) as split:
        people, items = int(split["n_users"]), int(split["n_items"])
        person = np.concatenate([split["train_u"], np.arange(people)])
        item = np.concatenate([split["train_i"], split["val_i"]])
        return *_rows(person, item, people), items, split["test_i"].astype(np.int32)


def _rows(
    person: NDArray[np.integer], item: NDArray[np.integer], people: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    order = np.lexsort((item, person))
    indptr = np.zeros(people + 1, np.int64)
    np.cumsum(np.bincount(person, minlength=people), out=indptr[1:])
    return indptr, item[order].astype(np.int32)


def _load_w2(cache: Path) -> Rows:
    path = cache / "w2.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        indptr, indices = invent(100_000, 50_000)
        np.savez(path, indptr=indptr, indices=indices)
    with np.load(path) as kept:
        return kept["indptr"], kept["indices"], 50_000, None


def invent(people: int, items: int, seed: int = 20240) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Invent histories: so many plays as round(Gamma(2, 50)) says, from 10 to 500; items by Zipf's law (s = 1).

    Items are drawn without replacement: repeats are dropped and more are drawn. Ranks of popularity become rows by one
    permutation.
    """
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.rint(rng.gamma(2.0, 50.0, people)), 10, 500).astype(np.int64)
    shares = 1.0 / np.arange(1, items + 1)
    cumulative = np.cumsum(shares / shares.sum())
    rows = rng.permutation(items).astype(np.int32)
    histories = []
    for length in lengths.tolist():
        got = np.empty(0, np.int64)
        while len(got) < length:
            drawn = np.minimum(np.searchsorted(cumulative, rng.random(2 * length)), items - 1)
            got = np.concatenate([got, drawn])
            first = np.unique(got, return_index=True)[1]
            got = got[np.sort(first)]
        histories.append(np.sort(rows[got[:length]]))
    indptr = np.zeros(people + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr, np.concatenate(histories)


def first_vectors(workload: Workload) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the vectors of items and people before the first round, shapes (items, 32) and (people, 32)."""
    rng = np.random.default_rng(7)
    items = rng.standard_normal((workload.items, DIM), dtype=np.float32) * np.float32(SPREAD)
    people = rng.standard_normal((workload.people, DIM), dtype=np.float32) * np.float32(SPREAD)
    return items, people


def draw_epoch(
    history: NDArray[np.int32], items: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return one device's samples of one epoch and their labels, shuffled; ``history`` is increasing."""
    count = len(history)
    drawn = rng.integers(0, items, count * NEGATIVES, dtype=np.int32)
    again = np.flatnonzero(_among(history, drawn))
    while len(again):
        drawn[again] = rng.integers(0, items, len(again), dtype=np.int32)
        again = again[_among(history, drawn[again])]
    samples = np.concatenate([history, drawn]).astype(np.int64)
    labels = np.zeros(len(samples), np.float32)
    labels[:count] = 1.0
    order = rng.permutation(len(samples))
    return samples[order], labels[order]


def _among(history: NDArray[np.int32], candidates: NDArray[np.int32]) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(history, candidates), len(history) - 1)
    return np.asarray(history[places] == candidates)


def learned(workload: Workload, items: NDArray[np.float32], people: NDArray[np.float32]) -> dict[str, float]:
    """Return figures of what was learned.

    ``hr@10`` and ``ndcg@10``: full ranking of the held-out items, where there are any; ``loss``: mean binary
    cross-entropy of the people whose vectors have moved, on a play and four other items of each, the same in every
    call; ``moved``: how far the item table is from where it began, in the Euclidean norm.
    """
    first_items, first_people = first_vectors(workload)
    figures = {
        "loss": _loss(workload, items, people, np.flatnonzero((people != first_people).any(axis=1))),
        "moved": float(np.linalg.norm(items.astype(np.float64) - first_items)),
    }
    if workload.held is not None:
        scores = people @ items.T
        scores[np.repeat(np.arange(workload.people), np.diff(workload.indptr)), workload.indices] = -np.inf
        mine = scores[np.arange(workload.people), workload.held]
        ranks = (scores > mine[:, None]).sum(axis=1)
        figures["hr@10"] = float((ranks < 10).mean())
        figures["ndcg@10"] = float(np.where(ranks < 10, 1.0 / np.log2(ranks + 2.0), 0.0).mean())
    return figures


def _loss(
    workload: Workload, items: NDArray[np.float32], people: NDArray[np.float32], trained: NDArray[np.integer]
) -> float:
    rng = np.random.default_rng(5)
    lengths = np.diff(workload.indptr)
    plays = workload.indices[workload.indptr[:-1] + (rng.random(workload.people) * lengths).astype(np.int64)]
    others = rng.integers(0, workload.items, (workload.people, NEGATIVES))
    total = 0.0
    for person in trained.tolist():
        rows = np.append(plays[person], others[person][~_among(workload.history(person), others[person])])
        logits = items[rows].astype(np.float64) @ people[person].astype(np.float64)
        signs = np.where(np.arange(len(rows)) == 0, -1.0, 1.0)
        total += float(np.logaddexp(0.0, signs * logits).mean())
    return total / max(len(trained), 1)
