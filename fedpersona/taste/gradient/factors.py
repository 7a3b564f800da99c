"""Factor models: a vector for each item, shared, and one for each person, who keeps it; a score is their product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.plays import Plays
from fedpersona.randomness import fingerprint, generator, normals
from fedpersona.taste.gradient.descent import Recipe, Trained, descend
from fedpersona.taste.gradient.model import GradientModel
from fedpersona.taste.model import Private, Shared
from fedpersona.taste.query import query_weights
from fedpersona.wire.update import Update

__all__ = ["FactorModel"]


class FactorModel(GradientModel):
    """What FedMF, FedRecon and PFedRec share. Shared is ``items`` (items, dim), private ``vector`` and ``bias``.

    Nobody counts listeners: the setting ``discount`` changes nothing.
    """

    biased: ClassVar[bool] = False
    """Whether a person has a bias."""
    short: ClassVar[float]
    """``longest`` under noise, at most."""

    dim: int = Field(32, ge=1, le=1024)
    """Length of a vector."""
    spread: float = Field(0.1, gt=0, le=10)
    """Standard deviation of the vectors before the first round."""
    fit_epochs: int = Field(20, ge=1, le=1000)
    """Passes in which a person gets a vector from plays alone, the items staying as they are."""
    fit_lr: float = Field(2.0, gt=0, le=1e6)
    """Step of these passes: shorter than that of training, since what is left in the end is one vector, no mean."""

    def suited(self, people: int, items: int) -> Self:
        """Return the model with shorter updates under noise, which is in proportion to the longest.

        Nearly all are shortened then, and the sum is one of directions. Measured on ML-100K, at its people and at ten
        times as many: fewer rounds cost more than the noise that they save.
        """
        return self.model_copy(update={"longest": min(self.longest, self.short)}) if self.noise else self

    @property
    def recipe(self) -> Recipe:
        """How a device trains in a round."""
        raise NotImplementedError

    @property
    def fitting(self) -> Recipe:
        """How a device gets a vector from its plays alone."""
        return replace(
            self.recipe, order="rebuild", epochs=0, rebuild_epochs=self.fit_epochs, lr=self.fit_lr, support=1.0
        )

    def shared_shapes(self, items: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of ``items``."""
        return {"items": (items, self.dim)}

    def private_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of ``vector``, and of ``bias`` where there is one."""
        if not self.remembers:
            return {}
        return {"vector": (self.dim,)} | ({"bias": (1,)} if self.biased else {})

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return random item vectors."""
        rows = generator(seed, f"{self.name} items").standard_normal((len(catalogue), self.dim), np.float32)
        return Shared(self.name, catalogue.version, 0, {"items": rows * np.float32(self.spread)})

    def begin(self, seed: int, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return random vectors of people; a bias of nothing."""
        if not self.remembers:
            return np.empty((len(devices), 0), np.float32)
        rows = np.zeros((len(devices), self.dim + (1 if self.biased else 0)), np.float32)
        rows[:, : self.dim] = normals(seed, f"{self.name} person", devices, self.dim) * self.spread
        return rows

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Fit the person to the items as they are: the same for the same plays."""
        weights = query_weights(plays, self.recency)
        if len(plays):
            weights = weights / weights.mean()
        trained = descend(
            shared["items"], plays.items, np.zeros(self.dim), 0.0, fingerprint(plays.items), self.fitting, weights
        )
        return self._private(trained)

    def train(self, shared: Shared, private: Private, plays: Plays, key: int | np.uint64) -> tuple[Private, Update]:
        """Take the steps of one round; what the items moved by, over all rows, is shortened to ``longest``."""
        vector = private["vector"] if self.remembers else np.zeros(self.dim)  # which is what it is rebuilt from
        bias = float(private["bias"][0]) if self.biased else 0.0
        trained = descend(shared["items"], plays.items, vector, bias, key, self.recipe)
        update = np.zeros(shared["items"].shape)
        length = sqrt(float(np.square(trained.change).sum()))
        update[trained.touched] = trained.change * min(1.0, self.longest / length if length else 1.0)
        return self._private(trained), Update({"items": update})

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the product with every item's vector."""
        return np.asarray(shared["items"].astype(np.float64) @ private["vector"])

    def explain(self, shared: Shared, item: int, plays: Plays) -> NDArray[np.float64]:
        """Return how alike each played item's vector and the item's are, as far as they are."""
        rows = shared["items"][plays.items].astype(np.float64)
        return np.asarray(np.maximum(rows @ shared["items"][item].astype(np.float64), 0.0))

    def _private(self, trained: Trained) -> Private:
        arrays = {"vector": trained.vector}
        return Private(arrays | ({"bias": np.array([trained.bias])} if self.biased else {}))
