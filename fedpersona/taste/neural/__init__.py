"""Taste models that are modules of PyTorch. torch itself is imported only where one of them computes."""

from fedpersona.taste.neural.fedncf import FedNCF
from fedpersona.taste.neural.model import TorchTaste

__all__ = ["FedNCF", "TorchTaste"]
