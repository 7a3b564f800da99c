"""A population over many processes or machines, by Ray: the same sums to the bit as one machine's."""

from fedpersona.simulation.cluster.ray_engine import RayEngine

__all__ = ["RayEngine"]
