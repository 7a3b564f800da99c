"""A seeded population of invented people who play invented tracks, of any size up to a million people."""

from fedpersona.simulation.synthetic.config import SyntheticConfig
from fedpersona.simulation.synthetic.generation import generate

__all__ = ["SyntheticConfig", "generate"]
