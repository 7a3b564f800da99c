"""``fedpersona demo``: a real federation on one machine, with invented people, in under two minutes.

A server as an operator runs it, over TLS on loopback; twenty devices, each a process with a vault of its own; two
owners who never say yes, one device that is killed in the middle of a round and one that is revoked; and in the end a
search of everything that passed between them for anything of anybody's history.
"""

from fedpersona.simulation.demo.run import DemoConfig, DemoResult, run_demo

__all__ = ["DemoConfig", "DemoResult", "run_demo"]
