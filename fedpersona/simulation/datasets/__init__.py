"""Listening histories to simulate with: a person's own copy of real ones, fixed splits, synthetic people."""

from fedpersona.simulation.datasets.resolve import KNOWN, available, load

__all__ = ["KNOWN", "available", "load"]
