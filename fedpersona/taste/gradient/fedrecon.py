"""FedRecon: devices that keep nothing rebuild their vector each time (Singhal et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fedpersona.taste.gradient.descent import Loss, Recipe
from fedpersona.taste.gradient.factors import FactorModel

__all__ = ["FedRecon"]


class FedRecon(FactorModel):
    """A device rebuilds its vector from some of its plays, items fixed, then trains items on the others (algorithm 1).

    Nothing goes on from round to round: a device that comes once is worth as much as one that comes often.
    """

    name: ClassVar[str] = "fedrecon"
    summary: ClassVar[str] = "matrix factorisation whose devices keep nothing: vectors are rebuilt from plays each time"
    remembers: ClassVar[bool] = False

    loss: Loss = "bce"
    support: float = Field(0.5, gt=0, le=1)
    """Share of the plays that a vector is rebuilt from; items are trained on the others; at 1 all are for both."""

    @property
    def recipe(self) -> Recipe:
        """The person from nothing, then the items."""
        return Recipe(
            self.loss,
            "rebuild",
            self.epochs,
            self.batch,
            self.negatives,
            self.lr,
            self.lr,
            prox=self.prox,
            rebuild_epochs=self.fit_epochs,
            support=self.support,
        )
