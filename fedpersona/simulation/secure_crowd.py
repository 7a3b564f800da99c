"""Invented devices of one process in a secure sum, each with the state machine that a real device runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.privacy.secagg import DeviceRound, ServerRound
from fedpersona.simulation.simulated_device import signing_key
from fedpersona.wire.message import Words
from fedpersona.wire.parcel import sign_reply
from fedpersona.wire.plan import Plan

__all__ = ["SecureCrowd"]


class SecureCrowd:
    """Takes the steps of many devices, exchange by exchange, against one server.

    Args:
        plan: the round.
        devices: their numbers.
        seed: keys the signing keys of the devices. Their keys for the round are drawn afresh.
    """

    def __init__(self, plan: Plan, devices: Sequence[int], *, seed: int) -> None:
        self._digest = plan.hash()
        self._keys: dict[int, Ed25519PrivateKey] = {device: signing_key(seed, device) for device in devices}
        self._rounds = {
            device: DeviceRound.for_plan(plan, key.public_key().public_bytes_raw())
            for device, key in self._keys.items()
        }
        self._places: dict[int, int] = {}

    def enter(self, server: ServerRound) -> None:
        """Bring in the keys."""
        for device, one in self._rounds.items():
            keys = one.advertise()
            identity = self._keys[device].public_key().public_bytes_raw()
            self._places[device] = server.enter(identity, keys, self._signed(device, "query.enter", keys))

    def share(self, server: ServerRound, head: bytes) -> None:
        """Bring in the sealed shares."""
        for device, place in self._places.items():
            server.take_sealed(place, self._rounds[device].share(head, server.view(place)))

    def update(self, server: ServerRound, going: Collection[int], words_of: Callable[[int], Words]) -> None:
        """Bring in the masked updates.

        Args:
            server: the other side.
            going: places of those that go on.
            words_of: gives a device's update by its number, as words that may be changed.
        """
        for device, place in self._places.items():
            if place in going:
                words = words_of(device)
                self._rounds[device].mask(words, server.delivered(place))
                server.take_vector(place, words)

    def leave(self, devices: Collection[int]) -> None:
        """Let some devices go: they answer no more."""
        for device in devices:
            if device in self._places:
                self._rounds[device].erase()
                del self._places[device]

    def agree(self, server: ServerRound, survivors: bytes, summed: Collection[int]) -> None:
        """Bring in the signatures under the list of who is in the sum."""
        for device, place in self._places.items():
            if place in summed:
                body = self._rounds[device].agree(survivors)
                server.take_signature(place, self._signed(device, "query.agree", body))

    def unmask(self, server: ServerRound, able: Collection[int]) -> None:
        """Bring in the shares that open the sum."""
        for device, place in self._places.items():
            if place in able:
                server.take_shares(place, self._rounds[device].unmask(server.signatures(place)))

    def _signed(self, device: int, kind: str, body: bytes) -> bytes:
        return sign_reply(kind, self._digest, body, self._keys[device])
