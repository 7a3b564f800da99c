"""The ClientApp that ``flwr run .`` gives to simulated devices. A real device never runs it."""

from fedpersona.simulation.clientapp import app

__all__ = ["app"]
