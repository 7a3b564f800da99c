"""PFedRec with the sampler of its published code, which leaks the label: to show what it does, and for nothing else.

That code draws negatives from all that is outside a person's whole history, held-out items and all. Of the items that
a person has not played, the held-out ones alone are then never trained down: the model is told what it is asked for.
The library has no such sampler, and needs none for this: here every device trains on a catalogue from which its own
held-out items were taken away.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fedpersona.randomness import fingerprint, keys
from fedpersona.simulation import Split
from fedpersona.simulation.kernel import Histories, Trainer, library
from fedpersona.taste import PFedRec, Shared
from fedpersona.taste.gradient.descent import descend
from fedpersona.wire.update import Update

Moved = tuple[NDArray[np.floating], NDArray[np.intp], NDArray[np.floating]]
"""A device's scorer and bias, the catalogue rows that it looked up, and their vectors as it has them then."""


@dataclass(eq=False)
class LeakyTraining:
    """Devices that stay away from what is held out of their histories; also what scores them, as `PFedRec.scores`."""

    model: PFedRec
    split: Split
    seed: int
    every: int
    """Rounds between two models that are kept."""
    shared: Shared = field(init=False)
    kept: NDArray[np.float32] = field(init=False)
    trainer: Trainer | None = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.shared = self.model.init(self.split.catalogue, self.seed)
        self.kept = self.model.begin(self.seed, np.arange(len(self.split.train)))
        self.listeners = np.zeros(len(self.split.catalogue), np.float32)
        opened = library()
        self.trainer = None if opened is None else Trainer(opened, len(self.listeners) - 2, self.model.dim)

    def run(self, rounds: int) -> Iterator[tuple[int, LeakyTraining]]:
        """Train, and yield the state after every so many rounds, with its number."""
        for number in range(1, rounds + 1):
            self._round()
            if number % self.every == 0 or number == rounds:
                frozen = copy.copy(self)
                frozen.kept = self.kept.copy()
                yield number, frozen

    def _round(self) -> None:
        """Train everyone once, and follow the mean."""
        started = time.perf_counter()
        number, people = self.shared.round_number + 1, len(self.kept)
        begun = keys(self.seed, "train", np.arange(people), round_number=number)
        total = np.zeros(self.shared["items"].shape)
        for person in range(people):
            self.kept[person], rows, vectors = self._train(person, begun[person])
            change = vectors - self.shared["items"][rows]
            total[rows] += change * min(1.0, self.model.longest / max(float(np.linalg.norm(change)), 1e-300))
        self.shared = self.model.apply(self.shared, Update({"items": total}), people)
        self.seconds += time.perf_counter() - started

    def scores_for(self, people: NDArray[np.int64], query: csr_array, half_life: float | None) -> NDArray[np.float32]:
        """Return scores (people, items) by the items as each device fits them, with the same sampler."""
        scores = np.empty((len(people), len(self.listeners)), np.float32)
        for place, person in enumerate(people.tolist()):
            scorer, rows, vectors = self._train(person, fingerprint(self.split.train.plays(person).items))
            vector = scorer[: self.model.dim]
            scores[place] = self.shared["items"] @ vector
            scores[place, rows] = vectors @ vector
        return scores

    def _train(self, person: int, key: np.uint64) -> Moved:
        """Train one device on what is left of the catalogue without its held-out items: this is the leak."""
        held_out = [self.split.val[person], self.split.test[person]]
        left = np.delete(np.arange(len(self.listeners)), held_out)
        items = np.delete(self.shared["items"], held_out, axis=0)
        history = np.searchsorted(left, self.split.train.plays(person).items).astype(np.int32)
        scorer = self.kept[person].copy()
        if self.trainer is None:
            dim = self.model.dim
            trained = descend(items, history, scorer[:dim], float(scorer[dim]), key, self.model.recipe)
            scorer = np.append(trained.vector, trained.bias)
            return scorer, left[trained.touched], items[trained.touched] + trained.change
        one = Histories(np.array([0, len(history)], np.int64), history)
        own = scorer[np.newaxis]
        moved = self.trainer.train(self.model.recipe, items, one, np.array([key], np.uint64), own, moved=True)
        if moved is None:
            raise ValueError("the kernel was asked for what items moved to, and has not told")
        touched, vectors = moved.of(0)
        return own[0], left[touched], vectors
