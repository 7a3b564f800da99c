"""Secure aggregation: a sum over devices that nobody can open one device of, though some of them leave.

SecAgg+ of Bell, Bonawitz, Gascón, Lepoint and Raykova ("Secure Single-Server Aggregation with (Poly)Logarithmic
Overhead", CCS 2020), its algorithm 3 for a server that may lie, with the consistency check of Bonawitz et al.
("Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017). Mathematics only: bytes in, bytes
out. What holds and what does not is in ``docs/secure-aggregation.md``.

Read in this order: ``parameters``, ``keys``, ``masks``, ``shamir``, ``roster``, ``graph``, ``messages``, then the two
sides, ``device`` and ``server``.
"""

from fedpersona.privacy.secagg.device import DeviceRound
from fedpersona.privacy.secagg.graph import MOST_DEVICES
from fedpersona.privacy.secagg.parameters import MOST_NEIGHBOURS, Chances, Parameters, chances
from fedpersona.privacy.secagg.server import ServerRound

__all__ = ["MOST_DEVICES", "MOST_NEIGHBOURS", "Chances", "DeviceRound", "Parameters", "ServerRound", "chances"]
