"""What left this device, what came, and what was refused: written down before it happens, and never changed.

Each entry is one transaction on disk before anything is sent. What became of it is an entry of its own: delivered, or
destroyed. Where a crash came in between, the ledger says that it may have left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from fedpersona.device.address import is_nowhere
from fedpersona.device.chain import Chain
from fedpersona.device.clock import Clock
from fedpersona.device.ledger_entry import FOLLOW_UPS, Kind, LedgerEntry, Tail, folded, plain, update_words
from fedpersona.device.spending import DELTA, Spent, cost
from fedpersona.device.store import Cursor, Store
from fedpersona.device.witness import Witness
from fedpersona.errors import ChainBroken, FedpersonaError, PlanRefused
from fedpersona.wire.layout import Layout
from fedpersona.wire.plan import Plan

__all__ = ["Kind", "Ledger", "LedgerEntry", "Tail", "update_words"]


_TESTED = ", with whether your last track was among ten suggestions"


class Ledger:
    """The ledger of a device. Printing :meth:`tail` reads well.

    Args:
        store: of the device.
        chain: its chain ``ledger``.
        clock: the device's clock.
        witness: notices that an older copy of the store was put back; None trusts the store.
    """

    def __init__(self, store: Store, chain: Chain, clock: Clock, witness: Witness | None = None) -> None:
        self._store = store
        self._chain = chain
        self._clock = clock
        self._witness = witness
        self._folded: tuple[int, tuple[LedgerEntry, ...]] = (0, ())

    # -- writing --

    def sending(
        self,
        *,
        server: str,
        purpose: str,
        plan: Plan,
        layout: Layout,
        size: int,
        digest: str,
        norm: float,
        tested: bool = False,
        allowed: Callable[[], None] = lambda: None,
    ) -> LedgerEntry:
        """Write down, on disk, that something is about to be sent. Only then may it be.

        Args:
            server: the normalised address.
            purpose: what the owner consented to.
            plan: the round.
            layout: of the update.
            size: bytes of the message.
            digest: SHA-256 of the message, in hexadecimal.
            norm: length of the update, after clipping.
            tested: whether it also counts how well the shared model did on the owner.
            allowed: raises where what was sent before leaves no room for this; no other process can send meanwhile.

        Raises:
            PlanRefused: this device has answered this very plan before, or may have.
            RolledBack: an older copy of the store was put back; nothing may be sent.
            ChainBroken: the ledger is not what this device signed; nothing may be sent.
        """
        plan_hash = plan.hash()
        with self._store.writing() as cursor:
            self.check_whole()
            allowed()
            if any(entry.plan_hash == plan_hash for entry in self.contributions(server)):
                raise PlanRefused("this device has answered this very plan before: no plan is answered twice")
            account = self._account(server, cost(plan))
            entry = self._write(
                cursor,
                "sent",
                server=server,
                purpose=purpose,
                **_of_plan(plan),
                what=update_words(layout, size, masked=plan.masked) + (_TESTED if tested else ""),
                size=size,
                norm=norm,
                digest=digest,
                account=account,
            )
        self._witnessed(entry)
        return entry

    def delivered(self, entry: LedgerEntry) -> None:
        """Write down that what ``entry`` tells of was handed over."""
        with self._store.writing() as cursor:
            self._write(cursor, "delivered", entry=entry.number)

    def destroyed(self, entry: LedgerEntry, *, reason: str) -> None:
        """Write down that what ``entry`` tells of was destroyed before any of it was handed over.

        Once a server was handed it this is never true again: then write nothing, and it counts as having left.
        """
        with self._store.writing() as cursor:
            self._write(cursor, "destroyed", entry=entry.number, reason=plain(reason))

    def refused(self, *, server: str, purpose: str, plan: Plan | None = None, reason: str) -> LedgerEntry:
        """Write down that this device said no, and why. The plan is None where it could not be read or was not."""
        with self._store.writing() as cursor:
            about = {} if plan is None else _of_plan(plan)
            return self._write(cursor, "refused", server=server, purpose=purpose, reason=plain(reason), **about)

    def received(self, *, server: str, what: str, size: int) -> LedgerEntry:
        """Write down that something public was downloaded.

        Args:
            server: the normalised address.
            what: in words.
            size: bytes.
        """
        with self._store.writing() as cursor:
            return self._write(cursor, "received", server=server, what=plain(what), size=size)

    def enrolling(self, *, server: str, federation: str) -> LedgerEntry:
        """Write down, on disk, that this device is about to ask for a place in a federation. Only then may it.

        Args:
            server: the normalised address.
            federation: its name.

        Raises:
            ChainBroken: the ledger is not what this device signed; nothing may be sent.
        """
        with self._store.writing() as cursor:
            what = f"with two public keys made for '{federation}' and the invitation's token, nothing of the history"
            return self._write(cursor, "enrolling", server=server, what=plain(what))

    def acknowledge(self, problem: str) -> LedgerEntry:
        """Write down that the owner knows of the older copy that was put back, and what it lacks; go on from here.

        What was spent since, as far as it is known outside of the store, counts from now on for every server.

        Args:
            problem: how it showed.

        Raises:
            ChainBroken: the ledger is not what this device signed; it cannot be gone on with.
        """
        with self._store.writing() as cursor:
            known = self._known_spent()
            lost = Spent() if self._witness is None else self._witness.lost(known)
            account = {"delta": DELTA, "cost": lost.told(), "life": (known + lost).told()}
            words = f"{problem}; what is known to be missing cost at worst {lost.words}"
            entry = self._write(cursor, "put back", what=plain(words), account=account)
        if self._witness is not None:
            self._witness.begin_again(known + lost)
        return entry

    def exported(self, *, what: str) -> LedgerEntry | None:
        """Write down that the owner took a copy out. A broken ledger takes no entry, and does not keep them from it."""
        return self._noted("exported", what)

    def imported(self, *, what: str) -> LedgerEntry | None:
        """Write down that the owner brought a history in: counts only, no names. None where the ledger is broken."""
        return self._noted("imported", what)

    # -- reading --

    def tail(self, n: int = 10) -> Tail:
        """Return the last ``n`` entries, oldest first; what became of a contribution is told with it.

        Raises:
            ChainBroken: the ledger is not what this device signed.
        """
        entries = self._entries()
        return Tail(entries[max(0, len(entries) - n) :])

    def contributions(self, server: str | None = None) -> tuple[LedgerEntry, ...]:
        """Return everything that left, or may have, oldest first; for one server or for all."""
        return tuple(entry for entry in self._entries() if entry.left and server in (None, entry.server))

    def count(self, kind: Kind) -> int:
        """Return how many entries there are of a kind; of ``sent``, those that left or may have."""
        return sum(entry.kind == kind and (entry.left or kind != "sent") for entry in self._entries())

    def check_whole(self) -> None:
        """Go on only where nothing is missing that left.

        Raises:
            RolledBack: an older copy of the store was put back.
            ChainBroken: the ledger is not what this device signed.
        """
        if self._witness is not None:
            self._witness.check()

    def spent(self, server: str | None = None) -> Spent:
        """Return what taking part has cost at worst: with one server, or over this device's life with all.

        Servers inside the process, such as the practice server, do not count into the second: nothing left. Where an
        older copy of the store was put back, what is known to be missing is in it, for every server.

        Raises:
            ChainBroken: the ledger is not what this device signed.
        """
        lost = Spent() if self._witness is None else self._witness.lost(self._known_spent())
        return self._known_spent(server) + lost

    def answered(self, server: str, run: str) -> tuple[tuple[int, int], ...]:
        """Return the rounds of a server's training that were answered, or may have been.

        Returns:
            For each its number, and of how many rounds in a row its plan said that a device answers one.
        """
        name = plain(run)
        mine = (entry for entry in self.contributions(server) if entry.run == name)
        return tuple((entry.round_number or 0, entry.separation) for entry in mine)

    def rounds_within(self, seconds: int) -> int:
        """Return how many contributions left, or may have, in the last so many seconds, to all servers."""
        ages = self._clock.ages(entry.at for entry in self.contributions())
        return sum(age < seconds for age in ages)

    def seconds_since_another_run(self, server: str, run: str) -> int | None:
        """Return how long ago this device last took part in another run of a server; None where it never did."""
        name = plain(run)
        ages = self._clock.ages(entry.at for entry in self.contributions(server) if entry.run != name)
        return min(ages, default=None)

    def verify(self) -> int:
        """Check the whole chain and return how many entries there are.

        Raises:
            ChainBroken: names the first entry that was changed, removed or moved.
        """
        return self._chain.verify()

    def export(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first, with hashes and signatures, JSON-native; unchecked, for an export."""
        return self._chain.export()

    # -- inner workings --

    def _entries(self) -> tuple[LedgerEntry, ...]:
        entries = self._chain.entries()
        if len(entries) != self._folded[0]:  # what was checked once stays as it is
            self._folded = (len(entries), folded(entries))
        return self._folded[1]

    def _known_spent(self, server: str | None = None) -> Spent:
        """Return what the ledger itself knows to have been spent."""
        counted = [
            entry.cost
            for entry in self._entries()
            if entry.server is None or (not is_nowhere(entry.server) if server is None else entry.server == server)
        ]
        return Spent(math.fsum(one.squared for one in counted), sum(one.noiseless for one in counted))

    def _account(self, server: str, added: Spent) -> dict[str, Any]:
        """Return this device's account of a round that is about to be answered, JSON-native."""
        of_life = self.spent() + (Spent() if is_nowhere(server) else added)
        return {
            "delta": DELTA,
            "cost": added.told(),
            "server": (self.spent(server) + added).told(),
            "life": of_life.told(),
        }

    def _witnessed(self, entry: LedgerEntry) -> None:
        """Have it known outside of the store, on disk, that an entry was written; else nothing may be sent."""
        if self._witness is None:
            return
        try:
            self._witness.advance(self._known_spent())
        except FedpersonaError as error:
            self.destroyed(entry, reason=str(error))
            raise

    def _noted(self, kind: Kind, what: str) -> LedgerEntry | None:
        try:
            with self._store.writing() as cursor:
                return self._write(cursor, kind, what=plain(what))
        except ChainBroken:
            return None

    def _write(self, cursor: Cursor, kind: Kind | str, **body: Any) -> LedgerEntry:
        entry = self._chain.append(cursor, {"kind": kind, **body}, self._clock.keep(cursor))
        if kind in FOLLOW_UPS:
            return LedgerEntry(entry.number, entry.at, "sent")
        return LedgerEntry(entry.number, entry.at, **entry.body)


def _of_plan(plan: Plan) -> Mapping[str, Any]:
    return {
        "model": plain(plan.model),
        "round_number": plan.round_number,
        "run": plain(plan.run),
        "plan_hash": plan.hash(),
        "masked": plan.masked,
        "clip": plan.clip,
        "noise": plan.noise,
        "noise_multiplier": plan.noise_multiplier,
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "separation": plan.separation,
    }
