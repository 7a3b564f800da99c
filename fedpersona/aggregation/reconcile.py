"""Our list of devices is the one that counts: Flower's is brought in line with it whenever a server starts.

They are two databases. Where Flower's was lost, or either was put back from a backup, devices that are enrolled here
would be strangers there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fedpersona.aggregation.roster import Roster

__all__ = ["Nodes", "reconcile"]


class Nodes(Protocol):
    """What knows Flower's nodes: :class:`fedpersona.aggregation.superlink.Control`."""

    def nodes(self) -> Mapping[bytes, int]:
        """Return node ids by public key (PEM)."""
        ...

    def register_node(self, public_key: bytes) -> int:
        """Let a node take part."""
        ...

    def unregister_node(self, node_id: int) -> None:
        """Take a node off the list."""
        ...


def reconcile(roster: Roster, control: Nodes) -> tuple[int, int]:
    """Register what is enrolled and missing at Flower, take off what is revoked; return how many of each.

    Raises:
        ServerError: Flower does not answer.
    """
    known = control.nodes()
    added = removed = 0
    for device in roster.devices():
        there = known.get(device.flower_key)
        if device.revoked_at is not None:
            if there is not None:
                control.unregister_node(there)
                removed += 1
        elif there is None or there != device.node_id:
            roster.attach(device.number, control.register_node(device.flower_key) if there is None else there)
            added += 1
    return added, removed
