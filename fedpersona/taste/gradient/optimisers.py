"""What a server does with the mean update of a round: plain steps, momentum, Adam or Yogi (Reddi et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ServerName", "ServerOptimiser"]

ServerName = Literal["sgd", "momentum", "adam", "yogi"]
"""FedAvg's plain step, FedAvgM's (Hsu et al. 2019), FedAdam's and FedYogi's."""


class ServerOptimiser(BaseModel):
    """Turns mean updates into steps of the shared model (algorithm 2 of Reddi et al. 2021).

    The mean update stands for the negative gradient. There is no correction of bias, as in the paper; moments begin
    at 0 and ``tau²``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ServerName = "sgd"
    lr: float = Field(1.0, gt=0, le=1e6)
    beta1: float = Field(0.9, ge=0, lt=1)
    """Of the first moment; the decay of ``momentum`` too."""
    beta2: float = Field(0.99, ge=0, lt=1)
    """Of the second moment."""
    tau: float = Field(1e-3, gt=0, le=1e3)
    """Keeps steps small where the second moment is: added to its root."""

    def step(
        self, name: str, array: NDArray[np.floating], mean: NDArray[np.float64], kept: Mapping[str, NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return an array of the model after its step, float64, and what to keep for the next.

        Args:
            name: of the array.
            array: as it is.
            mean: the mean update of the round, of the same shape.
            kept: what earlier steps kept; empty in the beginning.
        """
        first, second = f"{name}.first", f"{name}.second"
        if self.name == "sgd":
            return array + self.lr * mean, {}
        moment = kept.get(first, 0.0)
        if self.name == "momentum":
            moment = np.asarray(self.beta1 * moment + mean)
            return array + self.lr * moment, {first: moment}
        moment = np.asarray(self.beta1 * moment + (1.0 - self.beta1) * mean)
        square = np.square(mean)
        before = kept.get(second, np.full_like(mean, self.tau**2))
        if self.name == "adam":
            spread = self.beta2 * before + (1.0 - self.beta2) * square
        else:
            spread = before - (1.0 - self.beta2) * square * np.sign(before - square)
        return array + self.lr * moment / (np.sqrt(spread) + self.tau), {first: moment, second: spread}
