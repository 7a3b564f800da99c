"""The ServerApp of ``flwr run .``: a federation of simulated devices. A real one is started by ``fedpersona serve``."""

from fedpersona.simulation.serverapp import app

__all__ = ["app"]
