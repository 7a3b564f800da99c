"""Popularity: how many people play each item. The floor that a personal model has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.plays import Plays
from fedpersona.taste.counts import shared_vote
from fedpersona.taste.model import COUNT, Private, Range, Shared, TasteModel
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["Popularity"]


class Popularity(TasteModel):
    """Counts listeners in one sum. A device adds 1 for every item it has played, however often.

    In the private form it has one vote, shared out over its items: 1/√n for each of n, a vector of length 1. What the
    sum counts then are votes, and noise of either sign that goes below none is cut off.
    """

    name: ClassVar[str] = "popularity"
    summary: ClassVar[str] = "what most people play: the floor"

    rounds: int = Field(1, ge=1, le=1)

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return a model in which nobody has played anything."""
        return Shared(self.name, catalogue.version, 0, {"listeners": np.zeros(len(catalogue), np.float32)})

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare ``listeners`` (items,), each entry 0 or 1; under noise from 0 to 1, of length 1 together."""
        return Layout((ArraySpec("listeners", (len(catalogue),), bound=1.0),), length=1.0 if self.noise else None)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of ``listeners``."""
        return {"listeners": (len(catalogue),)}

    def ranges(self) -> Mapping[str, Range]:
        """Return the range of a count."""
        return {"listeners": COUNT}

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Nothing is private to a person here."""
        return Private()

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Add 1 for every item played, or the shared vote."""
        if self.noise:
            return Update({"listeners": shared_vote(plays, len(shared["listeners"]))})
        listeners = np.zeros(shared["listeners"].shape)
        listeners[plays.items] = 1.0
        return Update({"listeners": listeners})

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Keep the counts, none below zero."""
        return shared.next(listeners=np.maximum(total["listeners"], 0.0))

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the number of listeners of each item, the same for everyone."""
        return shared["listeners"].astype(np.float64)
