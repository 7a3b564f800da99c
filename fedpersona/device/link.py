"""How a device reaches a server: what it may ask for, and the one call that hands bytes over.

A link carries what :mod:`fedpersona.wire` defines and nothing else. Which link belongs to an address is looked up
here: that of a server in the same process, or of one on the network that the device is enrolled with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fedpersona.errors import PlanRefused

if TYPE_CHECKING:
    from fedpersona.taste.model import Shared
    from fedpersona.wire.plan import Setting

__all__ = ["Link", "Offer", "Release", "checked_offer", "is_provided", "provide", "provided"]


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

    @property
    def patience(self) -> float:
        """How many seconds one question for news may wait here; the way ends by itself when the app stops it."""
        ...

    @property
    def rest(self) -> float | None:
        """After how many seconds the server would like to see this device again; None where it does not say."""
        ...

    def catalogue(self) -> bytes | None:
        """Return the signed catalogue (:mod:`fedpersona.wire.signed_catalogue`), None where it is unchanged."""
        ...

    def release(self) -> Release | None:
        """Return the newest finished model, None where there is none or it is the one from before."""
        ...

    def offer(self, seconds: float) -> Offer | None:
        """Return the open round that this device has not answered yet, waiting at most so long for it."""
        ...

    @property
    def busy(self) -> bool:
        """Whether another round of the training run may still open for this device."""
        ...

    @property
    def identity(self) -> bytes:
        """The public key that this device signs its answers with, 32 bytes."""
        ...

    def question(self, kind: str, plan_hash: str, seconds: float) -> Mapping[str, bytes] | None:
        """Return the server's next message of a round, None where there is none after so long.

        Args:
            kind: which message it has to be, one of :data:`fedpersona.wire.parcel.ASKS`.
            plan_hash: which round it has to belong to.
            seconds: how long to wait.

        Raises:
            RoundClosed: the server gave the round up, or went on to another.
            PlanRefused: it is not what it should be.
        """
        ...

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        """Sign and hand over what belongs to masks: keys, shares, the list of who is in the sum. Only the gate does."""
        ...

    def send(self, message: bytes | bytearray) -> None:
        """Hand over the masked update. Only the gate calls this, and wipes the message when it returns."""
        ...

    def refuse(self, code: str) -> None:
        """Tell the server, in one of :data:`fedpersona.wire.parcel.REFUSALS`, that its question gets no answer."""
        ...

    def pause(self) -> None:
        """Say that this device takes no further part in rounds; it still fetches what is public."""
        ...

    def leave(self) -> None:
        """Say that this device takes no further part, and close the way."""
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


def provided(address: str) -> Link | None:
    """Return a link to the server of this process at a normalised address, None where there is none."""
    found = _SERVERS.get(address)
    return None if found is None else found()


def is_provided(address: str) -> bool:
    """Tell whether a server of this process has the address."""
    return address in _SERVERS


def checked_offer(offer: Offer) -> Offer:
    """Return what a server offered if it is of the form that was agreed.

    Raises:
        PlanRefused: it is not.
    """
    import numpy as np

    from fedpersona.taste.model import Shared

    shared = getattr(offer, "shared", None)
    if not (isinstance(getattr(offer, "plan", None), bytes) and isinstance(shared, Shared)):
        raise PlanRefused("the server's offer is not a plan with a shared model")
    if not all(isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in shared.arrays.values()):
        raise PlanRefused("the server's shared model does not consist of arrays of numbers")
    return offer
