"""How a device reaches a server: what it may ask for, and the one call that hands bytes over.

A link carries what :mod:`fedpersona.wire` defines and nothing else. Which link belongs to an address is looked up
here; today an address can be that of a server in the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fedpersona.errors import ServerUnreachable

if TYPE_CHECKING:
    from fedpersona.taste.model import Shared
    from fedpersona.wire.plan import Setting

__all__ = ["Link", "Offer", "Release", "connect", "provide"]


@dataclass(frozen=True)
class Offer:
    """A round that is open."""

    plan: bytes
    """An encoded :class:`~fedpersona.wire.plan.Plan`."""
    shared: Shared
    """The model that the plan starts from."""


@dataclass(frozen=True)
class Release:
    """A finished model, for devices to make playlists with."""

    model: str
    settings: Mapping[str, Setting]
    shared: Shared


class Link(Protocol):
    """One device's way to one server. No call waits longer than it was told to."""

    def catalogue(self) -> bytes:
        """Return the signed catalogue (:mod:`fedpersona.wire.signed_catalogue`)."""
        ...

    def release(self) -> Release | None:
        """Return the newest finished model, None where there is none."""
        ...

    def offer(self, seconds: float) -> Offer | None:
        """Return the open round that this device has not answered yet, waiting at most so long for it."""
        ...

    @property
    def busy(self) -> bool:
        """Whether another round of the training run may still open for this device."""
        ...

    def enter(self, plan_hash: str, public_key: bytes) -> None:
        """Say that this device takes part in the round, with its key for the masks."""
        ...

    def neighbours(self, plan_hash: str, seconds: float) -> tuple[bytes, ...] | None:
        """Return the keys to mask with once the roster is closed, None where it is still open after so long."""
        ...

    def send(self, message: bytes | bytearray) -> None:
        """Hand over the masked update. Only the gate calls this, and wipes the message when it returns."""
        ...

    def leave(self) -> None:
        """Say that this device takes no further part."""
        ...


_SERVERS: dict[str, Callable[[], Link]] = {}


@contextmanager
def provide(address: str, link: Callable[[], Link]) -> Iterator[None]:
    """Let devices of this process reach a server of this process at ``address``, as long as the context lasts."""
    _SERVERS[address] = link
    try:
        yield
    finally:
        _SERVERS.pop(address, None)


def connect(address: str) -> Link:
    """Return a link to the server at a normalised address.

    Raises:
        ServerUnreachable: no server of this process has it.
    """
    if address not in _SERVERS:
        raise ServerUnreachable(
            f"no server answers at {address}: this version reaches servers of the same process only "
            "('fedpersona device join practice' has one)"
        )
    return _SERVERS[address]()
