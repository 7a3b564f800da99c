"""PFedRec: a private scorer, and items that each device fits to its owner (Zhang et al. 2023)."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.plays import Plays
from fedpersona.randomness import fingerprint
from fedpersona.taste.gradient.descent import Recipe, descend
from fedpersona.taste.gradient.factors import FactorModel
from fedpersona.taste.model import Private, Shared

__all__ = ["PFedRec"]


class PFedRec(FactorModel):
    """A person's scorer is one affine layer over an item's vector; it moves first in every step, then the items do.

    Lists are made from the items as the device has fitted them ("dual personalisation"): :meth:`scores` takes the
    steps of one round more, on the shared items, and sends nothing. Negatives are drawn from all that the device has
    not played: the published code leaves held-out items out of them, which tells the model which these are.

    All scorers begin alike, as in the published code, where a device's is a copy of the server's. Every item vector
    points at random then, so the scorer may be any of its length: it has the same number everywhere.
    """

    name: ClassVar[str] = "pfedrec"
    summary: ClassVar[str] = "a private scorer over shared items, which every device fits to its owner"
    short: ClassVar[float] = 256.0
    biased: ClassVar[bool] = True

    rounds: int = Field(90, ge=1, le=100_000)
    spread: float = Field(1.0, gt=0, le=10)
    batch: int = Field(256, ge=1, le=1_000_000)
    lr: float = Field(0.1, gt=0, le=1e6)
    """Step of the scorer on the device."""
    item_lr: float = Field(30_000.0, gt=0, le=1e9)
    """Step of the items on the device: far longer, since the server takes the mean over all devices, of which few have
    moved an item."""
    fit_lr: float = Field(0.1, gt=0, le=1e6)
    longest: float = Field(4096.0, ge=1e-6, le=1e6)
    scorer: float = Field(0.6, gt=0, le=1e3)
    """Length of everyone's scorer before the first round."""

    @property
    def recipe(self) -> Recipe:
        """The scorer, then the items, in every step."""
        return Recipe(
            "bce",
            "alternate",
            self.epochs,
            self.batch,
            self.negatives,
            self.lr,
            self.item_lr,
            prox=self.prox,
            bias=True,
        )

    def begin(self, seed: int, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the same scorer for everyone; its bias is nothing."""
        rows = np.zeros((len(devices), self.dim + 1), np.float32)
        rows[:, : self.dim] = self.scorer / sqrt(self.dim)
        return rows

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Fit scorer and items to the owner once more, and return the product; the same for the same plays."""
        trained = descend(
            shared["items"],
            plays.items,
            private["vector"],
            float(private["bias"][0]),
            fingerprint(plays.items),
            self.recipe,
        )
        rows = shared["items"].astype(np.float64)
        rows[trained.touched] += trained.change
        return np.asarray(rows @ trained.vector)
