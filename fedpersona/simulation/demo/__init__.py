"""``fedpersona demo``: a real federation on one machine, with invented people, in under two minutes.

A server as an operator runs it, over TLS on loopback; twenty devices, each a process with a vault of its own; two
owners who never say yes, one device that is killed in the middle of a round and one that is revoked; and in the end a
search of everything that passed between them for anything of anybody's history.

Public names load when they are first used: each device's process needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpersona.simulation.demo.run import DemoConfig, DemoResult, run_demo

__all__ = ["DemoConfig", "DemoResult", "run_demo"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fedpersona.simulation.demo' has no attribute '{name}'")
    return getattr(import_module("fedpersona.simulation.demo.run"), name)
