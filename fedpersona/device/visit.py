"""One visit to a server: take what it publishes, answer the rounds it has open, take the finished model along."""

from __future__ import annotations

from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.ledger import Ledger
from fedpersona.device.link import Link
from fedpersona.device.shelf import Shelf
from fedpersona.errors import Refusal, RoundClosed, Stopped

__all__ = ["visit"]

_WAIT = 0.25  # seconds between two looks at whether to stop
_ATTEMPTS = 3  # rounds in a row that a server may give up before the visit ends


def visit(
    server: str, link: Link, *, gate: Gate, shelf: Shelf, ledger: Ledger, stop: Stop, key: bytes | None = None
) -> str:
    """Visit a server and return what came of it, in words.

    What a server publishes is taken with or without consent: that sends nothing of the owner's. A refusal to
    contribute is in the ledger and in the words returned; the finished model is taken all the same.

    Args:
        server: the normalised address.
        link: the way there.
        gate: the door that contributions go through.
        shelf: where catalogue and model are kept.
        ledger: where it is written that they came.
        stop: the app's wish to stop.
        key: the operator's key, where the owner knows it.

    Raises:
        SignatureInvalid: the catalogue is signed by another key than before.
        DataError: the catalogue cannot be read.
        PlanRefused: the finished model is not what it should be.
        Stopped: the app wished to stop.
    """
    try:
        sealed = link.catalogue()
        if shelf.accept_catalogue(server, sealed, key):
            ledger.received(server=server, what=f"catalogue of {_counted(shelf)}", size=len(sealed))
        answered, no = _answer_rounds(server, link, gate, shelf, stop)
        _take_model(server, link, shelf, ledger)
    finally:
        link.leave()
    if no is not None:
        return f"not contributed: {no}"
    return f"contributed to {answered} round{'' if answered == 1 else 's'}" if answered else "no round was open"


def _answer_rounds(server: str, link: Link, gate: Gate, shelf: Shelf, stop: Stop) -> tuple[int, Refusal | None]:
    """Answer rounds until none is open or the gate says no; return how many, and the no."""
    answered = lost = 0
    while True:
        stop.check()
        offer = link.offer(_WAIT)
        if offer is None:
            if link.busy:
                continue
            return answered, None
        try:
            gate.contribute(server, link, offer, shelf.catalogue, stop)
        except RoundClosed as no:
            lost += 1
            if lost == _ATTEMPTS:
                return answered, no
        except Stopped:
            raise
        except Refusal as no:
            return answered, no
        else:
            answered += 1
            lost = 0


def _take_model(server: str, link: Link, shelf: Shelf, ledger: Ledger) -> None:
    release = link.release()
    if release is not None and shelf.accept_release(release):
        ledger.received(server=server, what=f"shared taste model ({release.model})", size=release.shared.nbytes)


def _counted(shelf: Shelf) -> str:
    catalogue = shelf.catalogue
    return f"{len(catalogue):,} {catalogue.kind}s"
