"""What the pages and actions work on: the owner's device, the servers it knows, and what was last done."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from clients.companion.wording import Wording
from fedpersona.device.address import normalised
from fedpersona.device.device import Device
from fedpersona.device.identity import Identity
from fedpersona.device.membership import Membership
from fedpersona.device.taste_map import TasteMap, taste_map
from fedpersona.device.vault import Added, Known
from fedpersona.errors import ChainBroken
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.practice import PRACTICE, practice
from fedpersona.sources import Summary
from fedpersona.wire.invitation import Invitation

__all__ = ["Brought", "Forgotten", "Owner"]

_FIRST_LOOK = 8.0  # seconds that a visit may take before the page comes without its outcome


@dataclass(frozen=True)
class Brought:
    """What came of the last import, in counts."""

    summary: Summary
    added: Added
    known: Known


@dataclass(frozen=True)
class Forgotten:
    """What was deleted, in counts."""

    listens: int
    answers: int
    entries: int
    folder: str


class Owner:
    """One owner's device while the Companion runs.

    Args:
        device: open; whoever opened it closes it.
        zone: the owner's time zone; None asks the system.
    """

    def __init__(self, device: Device, *, zone: tzinfo | None = None) -> None:
        self.device = device
        self.zone = zone
        self.wording = Wording(zone)
        self.brought: Brought | None = None
        self.forgotten: Forgotten | None = None
        self._lock = threading.Lock()
        self._named: list[str] = []
        self._memberships: dict[str, Membership] = {}
        self._practice: LocalFederation | None = None
        self._practising = ExitStack()
        self._map: tuple[tuple[object, ...], TasteMap | None] | None = None

    def heed(self, sec_gpc: str | None) -> None:
        """Take a browser's ``Sec-GPC`` header as an answer.

        Where the consents are damaged it cannot be written down, nor is it needed: nothing is sent then. The pages
        go on, so that the owner can take everything along, or delete it.
        """
        with suppress(ChainBroken):
            self.device.consent.heed(sec_gpc)

    def servers(self) -> list[str]:
        """Return all servers: the practice server, those known by invitation, answered, and named."""
        answered = [state.server for state in self.device.consent.states()]
        return list(dict.fromkeys([PRACTICE, *self.known(), *answered, *self._named]))

    def known(self) -> dict[str, dict[str, Any]]:
        """Return what this device is to each server it knows by invitation, as an export tells it; by address."""
        return {found["server"]: found for found in self.device.enrolments.export() if found}

    def enrol(self, invitation: Invitation) -> Identity:
        """Take up an invitation.

        Raises:
            FedpersonaError: as :meth:`fedpersona.Device.enrol` does.
        """
        return self.device.enrol(invitation)

    def give_up(self, address: str) -> bool:
        """Delete the keys made for a server, and the pin of its operator's; tell whether there was anything.

        Raises:
            ConfigError: it is no address.
        """
        self.leave(address)
        return self.device.enrolments.forget(address)

    def name_server(self, address: str) -> str:
        """Remember a server while the Companion runs; an answer to it is kept for good.

        Raises:
            ConfigError: it is no address.
        """
        found = normalised(address)
        if found not in self._named:
            self._named.append(found)
        return found

    def membership(self, server: str) -> Membership | None:
        """Return the part taken in a server's federation, None where it was not visited since the Companion began."""
        return self._memberships.get(server)

    def visit(self, address: str) -> Membership:
        """Visit a server now, in the background, and wait a little for what comes of it.

        Raises:
            ConfigError: it is no address.
            ServerUnreachable: no server answers there.
        """
        server = normalised(address)
        with self._lock:
            if self._memberships.pop(server, None) is not None:
                self.device.leave(server)
            if server == PRACTICE:
                self._open_practice()
            membership = self.device.join(server, wait=0)
            self._memberships[server] = membership
        membership.wait(_FIRST_LOOK)
        return membership

    def leave(self, address: str) -> None:
        """Take no further part in a server's federation, as long as the Companion runs.

        Raises:
            ConfigError: it is no address.
        """
        server = normalised(address)
        with self._lock:
            self._memberships.pop(server, None)
            self.device.leave(server)

    def _open_practice(self) -> None:
        """Have a practice server with a training run to take part in: a new one, once the last has had its run."""
        if self._practice is not None and (self._practice.busy or not self._practice.runs):
            return
        self._practising.close()
        self._practice = self._practising.enter_context(practice())

    def map(self) -> TasteMap | None:
        """Return the map of the owner's taste; worked out again once something of it has changed."""
        catalogue, trained = self.device.catalogue, self.device.shelf.trained
        shared = None if trained is None else trained.shared
        plays = self.device.vault.plays(catalogue)
        key = (
            catalogue.version,
            None if shared is None else shared.hash(),
            plays.items.tobytes(),
            plays.weights.tobytes(),
        )
        with self._lock:
            if self._map is None or self._map[0] != key:
                self._map = (key, taste_map(catalogue, plays, shared))
            return self._map[1]

    def forget(self) -> Forgotten:
        """Delete everything; nothing of it can be read again.

        Raises:
            OutputError: a file could not be removed; the key is gone all the same.
        """
        device = self.device
        found = Forgotten(
            device.vault.count(), len(device.consent.records()), len(device.ledger.export()), str(device.folder)
        )
        with self._lock:
            self._map = None
            self.brought = None
            try:
                device.forget()
            finally:
                self.forgotten = found
        return found

    def close(self) -> None:
        """End what runs in the background."""
        for server in list(self._memberships):
            self._memberships.pop(server).stop()
        self._practising.close()
