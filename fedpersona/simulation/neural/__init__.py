"""Modules of PyTorch in simulations: many devices at once, and modules that a researcher brings."""
