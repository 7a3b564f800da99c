"""FedNCF: neural collaborative filtering with a private user vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from fedpersona.taste.gradient.optimisers import ServerName
from fedpersona.taste.neural.model import TorchTaste

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FedNCF"]


class FedNCF(TorchTaste):
    """A perceptron over a person's vector and an item's, beside their product (He et al. 2017, NeuMF), federated.

    After Perifanis and Efraimidis 2022: the person's vector stays on the device; item vectors, the perceptron and the
    product's weights are shared, and move by what they moved by on devices. Unlike He's, the two parts share vectors.
    """

    name: ClassVar[str] = "fedncf"
    summary: ClassVar[str] = "a perceptron and a product of a private vector and shared item vectors"
    remembers: ClassVar[bool] = True

    dim: int = Field(32, ge=1, le=1024)
    """Length of a vector."""
    width: int = Field(32, ge=2, le=4096)
    """Of the first hidden layer; the second has half of it."""
    rounds: int = Field(40, ge=1, le=100_000)
    lr: float = Field(0.5, gt=0, le=1e6)
    server: ServerName = "adam"
    """How the server follows the mean update: under plain steps the perceptron hardly moves in a hundred rounds."""
    server_lr: float = Field(0.0125, gt=0, le=1e6)

    @classmethod
    def module_class(cls) -> type[nn.Module]:
        """Return the perceptron."""
        from fedpersona.taste.neural.perceptron import Perceptron

        return Perceptron
