"""FedMF: federated matrix factorisation by stochastic gradient descent, with a private user vector."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fedpersona.taste.gradient.descent import Loss, Recipe
from fedpersona.taste.gradient.factors import FactorModel
from fedpersona.taste.gradient.optimisers import ServerName

__all__ = ["FedMF"]


class FedMF(FactorModel):
    """Devices move their own vector and the items together, and share what the items moved by.

    After Chai et al. 2020 and Ammad-ud-din et al. 2019, with whole local epochs in place of single gradients
    (McMahan et al. 2017), and a loss for implicit plays.
    """

    name: ClassVar[str] = "fedmf"
    summary: ClassVar[str] = "matrix factorisation by gradient descent; a person's vector stays on the device"
    short: ClassVar[float] = 1.0

    rounds: int = Field(60, ge=1, le=100_000)
    lr: float = Field(8.0, gt=0, le=1e6)
    """Step on the device; of a batch the mean gradient is taken, and an item is in it once or twice."""
    server: ServerName = "adam"
    server_lr: float = Field(0.05, gt=0, le=1e6)

    loss: Loss = "bce"

    @property
    def recipe(self) -> Recipe:
        """Person and items together."""
        return Recipe(self.loss, "together", self.epochs, self.batch, self.negatives, self.lr, self.lr, prox=self.prox)
