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


_BLOCK = 1 << 15


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
        self,
        name: str,
        array: NDArray[np.float32],
        total: NDArray[np.float64],
        count: int,
        kept: Mapping[str, NDArray[np.float64]],
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
        """Return an array of the model after its step, and what to keep for the next.

        It goes in blocks: a table of a million items is not copied for every term.

        Args:
            name: of the array.
            array: as it is.
            total: the sum of the round's updates, of the same shape.
            count: how many devices it is of.
            kept: what earlier steps kept; empty in the beginning.
        """
        moved = np.empty_like(array)
        begins = {"first": 0.0, "second": self.tau**2}
        names = {"sgd": (), "momentum": ("first",)}.get(self.name, ("first", "second"))
        moments = {moment: np.empty(total.shape) for moment in names}
        flat = {moment: moments[moment].reshape(-1) for moment in names}
        old = {moment: kept.get(f"{name}.{moment}") for moment in names}
        values, sums, out = array.reshape(-1), total.reshape(-1), moved.reshape(-1)
        share = 1.0 / max(count, 1)
        for start in range(0, sums.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            before = {
                moment: begins[moment] if (known := old[moment]) is None else known.reshape(-1)[part]
                for moment in names
            }
            change, after = self._change(sums[part] * share, before)
            change += values[part]
            out[part] = change
            for moment in names:
                flat[moment][part] = after[moment]
        return moved, {f"{name}.{moment}": moments[moment] for moment in names}

    def _change(
        self, mean: NDArray[np.float64], before: Mapping[str, NDArray[np.float64] | float]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """Return what a model moves by, and its moments after it."""
        if self.name == "sgd":
            return self.lr * mean, {}
        if self.name == "momentum":
            first = self.beta1 * before["first"] + mean
            return self.lr * first, {"first": first}
        first = self.beta1 * before["first"] + (1.0 - self.beta1) * mean
        square, spread = np.square(mean), before["second"]
        if self.name == "adam":
            second = self.beta2 * spread + (1.0 - self.beta2) * square
        else:
            second = spread - (1.0 - self.beta2) * square * np.sign(spread - square)
        return self.lr * first / (np.sqrt(second) + self.tau), {"first": first, "second": second}
