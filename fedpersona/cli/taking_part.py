"""``fedpersona device join``: one visit to a server, or a stay until the owner ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fedpersona.cli.opening import HOME, Folder, address_of, note, opening, say

if TYPE_CHECKING:
    from fedpersona.device.device import Device
    from fedpersona.device.ledger import LedgerEntry
    from fedpersona.device.membership import Membership

__all__ = ["join"]

_LOOK = 0.1  # seconds between two looks at what is new
_PATIENCE = 5.0  # seconds of silence before it is said what is waited for
_NEWEST = 200  # entries of the ledger that are looked at


def join(
    server: Annotated[str, typer.Argument(help="Address of a server you enrolled with; 'practice' is one here.")],
    folder: Folder = HOME,
    charging: Annotated[bool, typer.Option(help="Only while charging.")] = False,
    unmetered: Annotated[bool, typer.Option(help="Only on a network that costs nothing.")] = False,
    idle: Annotated[bool, typer.Option(help="Only while the device is idle.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Wait at most so many seconds.")] = 60.0,
    stay: Annotated[bool, typer.Option("--stay", help="Stay until Ctrl-C, and tell what happens.")] = False,
) -> None:
    """Visit a server over the network: take its model and, with your consent, contribute to its open rounds.

    Take up the operator's invitation first, with 'fedpersona device enrol'. 'practice' needs none: it is a server with
    300 invented people inside this command, so that you see what taking part is like.

    A visit lasts as long as rounds are open. With --stay the device comes back whenever the server would like it to,
    and --wait says nothing.
    """
    from fedpersona.device.conditions import Conditions
    from fedpersona.simulation.practice import practice

    when = Conditions(charging=charging, unmetered=unmetered, idle=idle)
    address = address_of(server)
    with practice() if server == "practice" else nullcontext(), opening(folder) as opened:
        news = _News(opened)
        if stay:
            with _ending() as over:
                code = _stay(opened.join(address, when=when, wait=0), news, over)
        else:
            code = _visit(opened.join(address, when=when, wait=min(wait, _PATIENCE)), news, wait)
    if code:
        raise typer.Exit(code)


class _News:
    """What came into the ledger since a command began."""

    def __init__(self, opened: Device) -> None:
        self._opened = opened
        self._told = max((entry.number for entry in opened.ledger.tail(1)), default=0)

    def take(self, *, settled: bool) -> Iterator[LedgerEntry]:
        """Give each new entry once, in order; what is just being sent waits until it is known what became of it.

        Args:
            settled: whether nothing is under way any more: then nothing is waited for.
        """
        for entry in self._opened.ledger.tail(_NEWEST):
            if entry.number <= self._told:
                continue
            if not settled and entry.kind == "sent" and entry.outcome == "unknown":
                return
            self._told = entry.number
            yield entry

    def now(self) -> str:
        """Return the time as the ledger writes it."""
        return datetime.fromtimestamp(self._opened.clock.now(), UTC).strftime("%Y-%m-%d %H:%M UTC")


def _visit(membership: Membership, news: _News, wait: float) -> int:
    if _under_way(membership) and wait > _PATIENCE:
        note(
            f"still visiting {membership.server}: a visit lasts as long as rounds are open; it is waited for at most "
            f"{wait:g} seconds, and Ctrl-C leaves at once"
        )
        membership.wait(wait - _PATIENCE)
    unfinished = _under_way(membership)
    if unfinished:
        membership.stop()
    say(f"{membership.server}: {membership.state}")
    new = [str(entry) for entry in news.take(settled=True)]
    say("\n".join(new) or "Nothing left, came or was refused in this visit.")
    if unfinished:
        note(f"the visit was not over after {wait:g} seconds, so it was ended: see --wait and --stay")
    return 2 if membership.state.startswith("failed") else 0


def _under_way(membership: Membership) -> bool:
    return membership.state in ("starting", "visiting")


def _stay(membership: Membership, news: _News, over: threading.Event) -> int:
    """Tell what happens until the owner ends it, or it ends by itself; return the exit code."""
    told = ""
    say(f"{membership.server}: staying until Ctrl-C")
    while membership.running and not over.wait(_LOOK):
        state = membership.state
        begins = state == "visiting"
        if state != told and begins:  # what is written in a visit follows it, what came of it is told last
            say(f"{news.now()}  {state}")
        for entry in news.take(settled=not begins):
            say(str(entry))
        if state != told and not begins:
            say(f"{news.now()}  {state}")
        told = state
    by_owner = over.is_set()
    gone = membership.stop()
    for entry in news.take(settled=True):
        say(str(entry))
    if by_owner:
        say(f"{news.now()}  left {membership.server}" + ("" if gone else "; what was under way is cut off"))
        return 0
    say(f"{news.now()}  {membership.state}")
    return 1 if membership.state.startswith("ended by an error") else 0


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """Give an event that is set at Ctrl-C or SIGTERM; a second one ends the program as it would by itself."""
    over = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def heed(number: int, frame: object) -> None:
        restore()
        over.set()

    for number in numbers:
        signal.signal(number, heed)
    try:
        yield over
    finally:
        restore()
