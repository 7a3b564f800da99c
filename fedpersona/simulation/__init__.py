"""Populations of simulated devices, the engines that run them, and honest figures about what they learn."""

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
