"""One entry of the ledger, and how it reads for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from fedpersona.device.address import is_nowhere
from fedpersona.device.chain import Entry
from fedpersona.device.spending import DELTA, Spent
from fedpersona.wire.layout import Layout

__all__ = ["FOLLOW_UPS", "Kind", "LedgerEntry", "Outcome", "Tail", "folded", "plain", "size_words", "update_words"]

Kind: TypeAlias = Literal["sent", "refused", "received", "exported", "imported", "enrolling", "put back"]
Outcome: TypeAlias = Literal["delivered", "destroyed", "unknown"]

FOLLOW_UPS = ("delivered", "destroyed")
"""Kinds of entries of the chain that say what became of an earlier one."""

_LONGEST = 400


@dataclass(frozen=True)
class LedgerEntry:
    """One entry, with what became of it."""

    number: int
    """Its place in the chain, from 1."""
    at: int
    """When it was written, in Unix seconds: before a send."""
    kind: Kind
    server: str | None = None
    """The normalised address."""
    purpose: str | None = None
    """What the owner had consented to."""
    model: str | None = None
    round_number: int | None = None
    run: str | None = None
    """The training run, as the server names it."""
    plan_hash: str | None = None
    """SHA-256 of the plan, in hexadecimal."""
    what: str | None = None
    """What it was, in words."""
    size: int | None = None
    """Bytes."""
    masked: bool | None = None
    clip: float | None = None
    """Longest update that the round allowed; None where it set no limit."""
    norm: float | None = None
    """Length of the update that was sent."""
    noise: str = ""
    """Who adds noise to the sum by the plan: ``central`` the server, ``distributed`` every device; empty is nobody."""
    noise_multiplier: float | None = None
    """Deviation of that noise, over ``clip``."""
    epsilon: float | None = None
    """The ε that the plan claims for all of its training; no more than a claim: nothing here is worked out from it."""
    delta: float | None = None
    """The δ that the claim is for."""
    separation: int = 1
    """The plan's: of so many rounds that follow each other a device answers one."""
    account: Mapping[str, Any] | None = None
    """This device's own account when the entry was written: :attr:`cost`, :attr:`of_server` and :attr:`of_life`."""
    digest: str | None = None
    """SHA-256 of the bytes, in hexadecimal."""
    reason: str | None = None
    """Why it was refused or destroyed."""
    outcome: Outcome | None = None
    """What became of a contribution; ``unknown`` where the device stopped in between."""

    @property
    def left(self) -> bool:
        """Whether something of the owner's left the device, or may have."""
        return self.kind == "sent" and self.outcome != "destroyed"

    @property
    def cost(self) -> Spent:
        """What this entry added to what taking part has cost: nothing unless something left."""
        if self.account is not None and (self.left or self.kind == "put back"):
            return Spent.read(self.account["cost"])
        return Spent(noiseless=1) if self.left else Spent()  # earlier versions had no noise, and kept no account

    @property
    def of_server(self) -> Spent | None:
        """What all rounds of this server had cost with this one; None where no account was kept."""
        return None if self.account is None or "server" not in self.account else Spent.read(self.account["server"])

    @property
    def of_life(self) -> Spent | None:
        """What all rounds of all servers had cost with this one; None where no account was kept."""
        return None if self.account is None else Spent.read(self.account["life"])

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{when}  {self.sentence}"

    @property
    def sentence(self) -> str:
        """The entry in words, without its time."""
        if self.kind == "sent":
            return self._sent()
        if self.kind == "refused":
            about = "" if self.round_number is None else f" round {self.round_number} ({self.model}) of"
            return f"refused{about} {self.server}: {self.reason}"
        if self.kind == "put back":
            return f"you said that you know: {self.what}"
        if self.kind == "enrolling":
            return f"asked {self.server} to enrol this device, {self.what}"
        size = "" if self.size is None else f", {size_words(self.size)}"
        source = "" if self.server is None else f" from {self.server}"
        return f"{self.kind}{source}: {self.what}{size}"

    def _sent(self) -> str:
        verb = {"delivered": "sent to", "destroyed": "destroyed, not sent to"}.get(
            str(self.outcome), "may have left for"
        )
        clip = "not shortened to a limit" if self.clip is None else f"length at most {self.clip:g}"
        masks = ", with keys and shares of its masks" if self.masked and self.outcome != "destroyed" else ""
        what = f"round {self.round_number} ({self.model}), {self.what}{masks}"
        words = f"{verb} {self.server}: {what}; {clip}, {self.noise_words}{self._account_words()}"
        return f"{words}; {self.reason}" if self.reason else words

    @property
    def noise_words(self) -> str:
        """What the plan promises, and whose word that is."""
        if not self.noise or self.noise_multiplier is None:
            return "no differential privacy"
        times = f"noise of {self.noise_multiplier:.3g} times that"
        if self.noise == "central":
            return f"{times} from the server, if it keeps its promise"
        return f"{times} from all devices, its share from this one"

    def _account_words(self) -> str:
        """Return what it came to at worst; of what was destroyed nothing."""
        if not self.left or self.of_server is None or self.of_life is None:
            return ""
        told = [] if self.cost.noiseless else [f"this round {self.cost.words}"]
        if self.of_server != self.of_life:
            told.append(f"this server {self.of_server.words}")
        if self.server is not None and is_nowhere(self.server):
            told.append(f"in all {self.of_life.words} as before, for it stayed on this computer")
        else:
            told.append(f"in all {self.of_life.words}")
        return f"; at worst, at δ {DELTA:.6f}: {', '.join(told)}"


class Tail(tuple[LedgerEntry, ...]):
    """The last entries of the ledger, oldest first; printed, one line each."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(str(entry) for entry in self) or "nothing has left this device"


def folded(entries: Iterable[Entry]) -> tuple[LedgerEntry, ...]:
    """Return what the chain tells, each contribution together with what became of it."""
    found: dict[int, LedgerEntry] = {}
    for entry in entries:
        body = dict(entry.body)
        if body["kind"] in FOLLOW_UPS:
            about = found[body["entry"]]
            if about.outcome == "delivered":
                continue  # what has left stays left, whatever is written after it
            found[about.number] = replace(about, outcome=body["kind"], reason=body.get("reason"))
        else:
            outcome: Outcome | None = "unknown" if body["kind"] == "sent" else None
            found[entry.number] = LedgerEntry(entry.number, entry.at, **body, outcome=outcome)
    return tuple(found.values())


def update_words(layout: Layout, size: int, *, masked: bool) -> str:
    """Say what an update is, such as ``64 × 4,607 numbers, masked, 1.2 MB``.

    Args:
        layout: its arrays.
        size: bytes of the message.
        masked: whether only a sum over devices can be read.
    """
    shapes = [" × ".join(f"{length:,}" for length in spec.shape) or "1" for spec in layout.arrays]
    numbers = " and ".join(", ".join(shapes).rsplit(", ", 1)) if len(shapes) <= 3 else f"{layout.size:,}"
    return f"{numbers} numbers, {'masked' if masked else 'not masked'}, {size_words(size)}"


def size_words(size: int) -> str:
    """Say how many bytes, such as ``1.2 MB``; a kB is 1,000."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size} byte{'' if size == 1 else 's'}"


def plain(text: str) -> str:
    """Return text that comes from elsewhere as one short printable line: a server's words must not steer a terminal."""
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
