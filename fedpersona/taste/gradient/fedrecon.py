"""FedRecon: devices that keep nothing rebuild their vector each time (Singhal et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fedpersona.taste.gradient.descent import Loss, Recipe
from fedpersona.taste.gradient.factors import FactorModel
from fedpersona.taste.gradient.optimisers import ServerName

__all__ = ["FedRecon"]


class FedRecon(FactorModel):
    """A device rebuilds its vector from its plays, items fixed, then trains items, vector fixed (algorithm 1).

    Nothing goes on from round to round: a device that comes once is worth as much as one that comes often.
    """

    name: ClassVar[str] = "fedrecon"
    summary: ClassVar[str] = "matrix factorisation whose devices keep nothing: vectors are rebuilt from plays each time"
    short: ClassVar[float] = 0.5
    remembers: ClassVar[bool] = False

    rounds: int = Field(60, ge=1, le=100_000)
    negatives: int = Field(2, ge=1, le=1000)
    lr: float = Field(8.0, gt=0, le=1e6)
    """Step of the items on the device."""
    server: ServerName = "adam"
    server_lr: float = Field(0.1, gt=0, le=1e6)

    loss: Loss = "bpr"
    rebuild_epochs: int = Field(5, ge=1, le=1000)
    """Passes that rebuild the vector in a round, with the step ``fit_lr``; lists are made after ``fit_epochs``."""
    support: float = Field(1.0, gt=0, le=1)
    """Share of the plays that the vector is rebuilt from; items are trained on the others.

    At 1 both are done on all of them: measured better on histories as short as people's.
    """

    @property
    def recipe(self) -> Recipe:
        """The person from nothing, then the items."""
        return Recipe(
            self.loss,
            "rebuild",
            self.epochs,
            self.batch,
            self.negatives,
            self.fit_lr,
            self.lr,
            prox=self.prox,
            rebuild_epochs=self.rebuild_epochs,
            support=self.support,
        )
