"""FedMF: federated matrix factorisation by stochastic gradient descent, with a private user vector."""

from __future__ import annotations

from typing import ClassVar

from fedpersona.taste.gradient.descent import Loss, Recipe
from fedpersona.taste.gradient.factors import FactorModel

__all__ = ["FedMF"]


class FedMF(FactorModel):
    """Devices move their own vector and the items together, and share what the items moved by.

    After Chai et al. 2020 and Ammad-ud-din et al. 2019, with whole local epochs in place of single gradients
    (McMahan et al. 2017), and a loss for implicit plays.
    """

    name: ClassVar[str] = "fedmf"
    summary: ClassVar[str] = "matrix factorisation by gradient descent; a person's vector stays on the device"

    loss: Loss = "bce"

    @property
    def recipe(self) -> Recipe:
        """Person and items together."""
        return Recipe(self.loss, "together", self.epochs, self.batch, self.negatives, self.lr, self.lr, prox=self.prox)
