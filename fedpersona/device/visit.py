"""One visit to a server: take what it publishes, answer the rounds it has open, take the finished model along."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.ledger import Ledger
from fedpersona.device.link import Link, Offer, Release
from fedpersona.device.shelf import Shelf
from fedpersona.errors import (
    BelowFloor,
    DataError,
    PlanRefused,
    PlanReplayed,
    Refusal,
    RolledBack,
    RoundClosed,
    Stopped,
)

__all__ = ["Visited", "visit"]

_WAIT = 0.25  # seconds between two looks at whether to stop
_ATTEMPTS = 3  # rounds in a row that a server may give up before the visit ends
_LONGEST = 1800.0  # seconds of one visit
_MODEL_LOOK = 3.0  # seconds between two looks for it, over a network
_FIRST_MODEL = 30.0  # seconds to wait for a server's first model
_LARGEST_CATALOGUE = 512 << 20  # bytes


@dataclass(frozen=True)
class Visited:
    """What came of a visit."""

    words: str
    refused: bool = False
    """Whether it came to nothing but noes that stay the same whatever the server asks; each is in the ledger."""


def visit(
    server: str,
    link: Link,
    *,
    gate: Gate,
    shelf: Shelf,
    ledger: Ledger,
    stop: Stop,
    key: bytes | None = None,
    unmet: Callable[[], tuple[str, ...]] = tuple,
) -> Visited:
    """Visit a server and return what came of it.

    What a server publishes is taken with or without consent: that sends nothing of the owner's. Without consent the
    device does not show itself to the rounds at all. A plan that it refuses is in the ledger and in the words
    returned; the finished model is taken all the same.

    Args:
        server: the normalised address.
        link: the way there.
        gate: the door that contributions go through.
        shelf: where catalogue and model are kept.
        ledger: where it is written that they came, or were refused.
        stop: the app's wish to stop.
        key: the operator's key, where the owner knows it.
        unmet: tells which of the owner's conditions do not hold any more, in words; looked at before each round.

    Raises:
        SignatureInvalid: the catalogue is signed by another key than before.
        DataError: the catalogue cannot be read.
        PlanRefused: the finished model is not what it should be.
        Stopped: the app wished to stop.
    """
    try:
        _take_catalogue(server, link, shelf, ledger, key)
        answered, no = _answer_rounds(server, link, gate, shelf, ledger, stop, unmet)
        _take_model(server, link, shelf, ledger, stop, unmet)
    finally:
        with suppress(Exception):  # whatever goodbye comes to, the visit is over
            link.leave()
    if answered:
        return Visited(f"contributed to {_rounds(answered)}" + (f", then: {no}" if no else ""))
    if no is None:
        return Visited("no round was open")
    return Visited(f"not contributed: {no}", refused=isinstance(no, BelowFloor | PlanRefused | RolledBack))


def _rounds(number: int) -> str:
    return f"{number} round{'' if number == 1 else 's'}"


def _answer_rounds(
    server: str, link: Link, gate: Gate, shelf: Shelf, ledger: Ledger, stop: Stop, unmet: Callable[[], tuple[str, ...]]
) -> tuple[int, Refusal | str | None]:
    """Answer rounds until none is open or the device says no; return how many, and the no."""
    answered = lost = 0
    deadline = time.monotonic() + _LONGEST
    while time.monotonic() < deadline:
        stop.check()
        if wanting := unmet():
            return answered, ", ".join(wanting)
        left: int | None = None
        try:
            gate.willing(server)
            offer = _next_offer(server, link, ledger, stop)
            if offer is None:
                if link.busy:
                    continue
                return answered, None
            left = len(ledger.contributions(server))
            gate.contribute(server, link, offer, shelf.catalogue, stop)
        except Stopped:
            raise
        except (RoundClosed, PlanReplayed) as no:  # the round after it may be waiting already: nothing is refused
            lost += 1
            if lost == _ATTEMPTS:
                return answered, no
        except Refusal as no:
            link.refuse(_code(no))
            # A no to what a server asks once it has the update, such as shares, does not take the update back.
            return answered + (left is not None and len(ledger.contributions(server)) > left), no
        else:
            answered += 1
            lost = 0
    return answered, "the server kept this device waiting"


def _code(no: Refusal) -> str:
    """Return what the server hears: never which floor it was, or whether a consent ended meanwhile."""
    return "plan" if isinstance(no, PlanRefused) else "declined"


def _next_offer(server: str, link: Link, ledger: Ledger, stop: Stop) -> Offer | None:
    """Ask for the open round; a server that answers "none" at once does not make the device ask faster."""
    started = time.monotonic()
    try:
        offer = link.offer(link.patience)
    except Refusal as no:
        if not isinstance(no, Stopped | RoundClosed):
            ledger.refused(server=server, purpose="share_update", reason=str(no))
        raise
    if offer is None and link.busy:
        stop.wait(max(0.0, started + _WAIT - time.monotonic()))
    return offer


def _take_catalogue(server: str, link: Link, shelf: Shelf, ledger: Ledger, key: bytes | None) -> None:
    sealed = link.catalogue()
    if sealed is None:
        return
    try:
        if not isinstance(sealed, bytes):
            raise DataError("is not a file", place=f"catalogue of {server}")
        if len(sealed) > _LARGEST_CATALOGUE:
            raise DataError(
                f"has {len(sealed):,} bytes; a device takes {_LARGEST_CATALOGUE:,} at most",
                place=f"catalogue of {server}",
            )
        new = shelf.accept_catalogue(server, sealed, key)
    except DataError as error:
        ledger.refused(server=server, purpose="catalogue", reason=str(error))
        raise
    if new:
        ledger.received(server=server, what=f"catalogue of {_counted(shelf)}", size=len(sealed))


def _take_model(
    server: str, link: Link, shelf: Shelf, ledger: Ledger, stop: Stop, unmet: Callable[[], tuple[str, ...]]
) -> None:
    """Take the finished model; where there is none yet but a run is under way, wait a little for its end."""
    deadline = time.monotonic() + _FIRST_MODEL
    release = _release(server, link, ledger)
    if release is None and shelf.trained is None and link.busy:
        link.pause()  # the run need not wait for this device
    while release is None and shelf.trained is None and link.busy and time.monotonic() < deadline and not unmet():
        stop.wait(min(link.patience, _MODEL_LOOK))
        stop.check()
        release = _release(server, link, ledger)
    release = release or _release(server, link, ledger)
    if release is None:
        return
    try:
        new = shelf.accept_release(release)
    except Refusal as refusal:
        ledger.refused(server=server, purpose="shared model", reason=str(refusal))
        raise
    if new:
        ledger.received(server=server, what=f"shared taste model ({release.model})", size=release.shared.nbytes)


def _release(server: str, link: Link, ledger: Ledger) -> Release | None:
    """Ask for the finished model; one that the operator did not sign for this federation is written down."""
    try:
        return link.release()
    except Stopped:
        raise
    except Refusal as refusal:
        ledger.refused(server=server, purpose="shared model", reason=str(refusal))
        raise


def _counted(shelf: Shelf) -> str:
    catalogue = shelf.catalogue
    return f"{len(catalogue):,} {catalogue.kind}s"
