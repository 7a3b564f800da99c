"""PFedRec: a private scorer, and items that each device fits to its owner (Zhang et al. 2023)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fedpersona.taste.gradient.descent import Recipe
from fedpersona.taste.gradient.factors import FactorModel

__all__ = ["PFedRec"]


class PFedRec(FactorModel):
    """A person's scorer is one affine layer over an item's vector; it moves first in every step, then the items do.

    Lists are made from the items as the device has fitted them ("dual personalisation"). Negatives are drawn from all
    that the device has not played: the published code leaves held-out items out of them, which tells the model which
    these are.
    """

    name: ClassVar[str] = "pfedrec"
    summary: ClassVar[str] = "a private scorer over shared items, which every device fits to its owner"
    biased: ClassVar[bool] = True

    item_lr: float = Field(100.0, gt=0, le=1e9)
    """Step of the items on the device."""

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
