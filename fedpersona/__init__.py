"""fedpersona: music personalisation that learns a shared taste model without seeing anyone's listening history.

Public names load when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpersona.aggregation import Coordinator
    from fedpersona.catalogue import Catalogue
    from fedpersona.device.conditions import Conditions
    from fedpersona.device.device import Device
    from fedpersona.device.policy import Policy
    from fedpersona.errors import FedpersonaError
    from fedpersona.plays import Plays
    from fedpersona.simulation import Population, Split, simulate
    from fedpersona.taste import IALS, Ease, Popularity, Shared, Subspace, TasteModel

__version__ = "0.1.0"

# Flower reads these when it is imported. It tells nobody that it runs, and asks nobody for a newer version, unless the
# environment says otherwise.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

__all__ = [
    "IALS",
    "Catalogue",
    "Conditions",
    "Coordinator",
    "Device",
    "Ease",
    "FedpersonaError",
    "Plays",
    "Policy",
    "Popularity",
    "Population",
    "Shared",
    "Split",
    "Subspace",
    "TasteModel",
    "__version__",
    "simulate",
]

_HOMES = {
    "IALS": "fedpersona.taste",
    "Catalogue": "fedpersona.catalogue",
    "Conditions": "fedpersona.device.conditions",
    "Coordinator": "fedpersona.aggregation",
    "Device": "fedpersona.device.device",
    "Ease": "fedpersona.taste",
    "FedpersonaError": "fedpersona.errors",
    "Plays": "fedpersona.plays",
    "Policy": "fedpersona.device.policy",
    "Popularity": "fedpersona.taste",
    "Population": "fedpersona.simulation",
    "Shared": "fedpersona.taste",
    "Split": "fedpersona.simulation",
    "Subspace": "fedpersona.taste",
    "TasteModel": "fedpersona.taste",
    "simulate": "fedpersona.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fedpersona' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
