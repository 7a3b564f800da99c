"""Modules of PyTorch in simulations: many devices at once, and modules that a researcher brings."""

from fedpersona.simulation.neural.engine import NeuralEngine
from fedpersona.simulation.neural.scorer import NeuralScorer

__all__ = ["NeuralEngine", "NeuralScorer"]
