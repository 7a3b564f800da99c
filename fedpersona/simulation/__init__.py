"""Populations of simulated devices, the engines that run them, and honest figures about what they learn.

Public names load when they are first used: a process that needs one room of this house does not open all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpersona.simulation.behaviour import Behaviour
    from fedpersona.simulation.callbacks import Callback
    from fedpersona.simulation.experiment import Run, load_split, simulate
    from fedpersona.simulation.output import read_model, write_run
    from fedpersona.simulation.population import Population, Split
    from fedpersona.simulation.record import RunConfig, RunRecord, read_record

__all__ = [
    "Behaviour",
    "Callback",
    "Population",
    "Run",
    "RunConfig",
    "RunRecord",
    "Split",
    "load_split",
    "read_model",
    "read_record",
    "simulate",
    "write_run",
]

_HOMES = {
    "Behaviour": "behaviour",
    "Callback": "callbacks",
    "Population": "population",
    "Run": "experiment",
    "RunConfig": "record",
    "RunRecord": "record",
    "Split": "population",
    "load_split": "experiment",
    "read_model": "output",
    "read_record": "record",
    "simulate": "experiment",
    "write_run": "output",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedpersona.simulation' has no attribute '{name}'")
    return getattr(import_module(f"fedpersona.simulation.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
