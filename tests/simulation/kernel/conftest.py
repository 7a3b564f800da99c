"""Invented devices for the compiled kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fedpersona.simulation.kernel import Histories, Library, Moved, Trainer, absence, library
from fedpersona.taste.gradient.descent import Recipe


@pytest.fixture(scope="session")
def kernel() -> Library:
    """The compiled kernel: where tests run, a compiler was there when the package was installed."""
    found = library()
    assert found is not None, absence()
    return found


@dataclass(frozen=True, eq=False)
class Devices:
    """Histories of given sizes, with keys and private parts."""

    items: np.ndarray
    histories: Histories
    keys: np.ndarray
    privates: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def history(self, device: int) -> np.ndarray:
        return self.histories.items[self.part(device)]

    def part(self, device: int) -> slice:
        return slice(int(self.histories.indptr[device]), int(self.histories.indptr[device + 1]))

    def train(self, trainer: Trainer, recipe: Recipe, **how) -> tuple[np.ndarray, Moved | None]:
        """Train them all: their private parts afterwards, and what moved."""
        rows = self.privates[:, : self.items.shape[1] + recipe.bias].copy()
        return rows, trainer.train(recipe, self.items, self.histories, self.keys, rows, **how)


def devices(sizes: list[int], *, items: int = 900, dim: int = 32, weighted: bool = False, seed: int = 1) -> Devices:
    rng = np.random.default_rng(seed)
    played = [np.sort(rng.choice(items, size, replace=False)) for size in sizes]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    flat = np.concatenate([*played, []]).astype(np.int32)
    weights = rng.uniform(0.2, 2.0, len(flat)).astype(np.float32) if weighted else None
    return Devices(
        items=(0.1 * rng.standard_normal((items, dim))).astype(np.float32),
        histories=Histories(indptr, flat, weights=weights),
        keys=rng.integers(0, 2**64, len(sizes), dtype=np.uint64),
        privates=(0.1 * rng.standard_normal((len(sizes), dim + 1))).astype(np.float32),
    )
