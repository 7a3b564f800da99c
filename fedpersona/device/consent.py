"""What the owner said yes and no to: per purpose and per server, off by default, in a chain of signed records.

The last answer counts. A yes ends by its time, by a changed notice, and by Global Privacy Control; nothing but another
yes brings it back. Everything is read from the store each time, so that a withdrawal in another process counts at once.
"""

from __future__ import annotations

import logging
import os
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fedpersona.device.address import normalised
from fedpersona.device.chain import Chain, Entry
from fedpersona.device.clock import Clock
from fedpersona.device.consent_state import GPC_ON, GPC_VARIABLE, ConsentState, Status, advice, gpc_variable_on
from fedpersona.device.notice import Notice, Purpose, notice
from fedpersona.device.record import (
    Answer,
    answer_of,
    consent_record,
    gpc_on,
    is_about,
    last_gpc,
    notice_hash,
    says_no,
    subject,
)
from fedpersona.device.store import Cursor, Store
from fedpersona.device.witness import Witness
from fedpersona.errors import ConfigError, ConsentMissing, DiskFull, OutputError, RolledBack, VaultBusy

__all__ = ["GPC_VARIABLE", "Consent", "ConsentState", "Permit", "Status"]

_PRINCIPAL = "consent principal"
_DAY = 86_400
_MOST_DAYS = 3650
_LOG = logging.getLogger(__name__)


class Permit:
    """A yes that was there a moment ago; :meth:`check` looks whether it still is. Made by :meth:`Consent.permit`."""

    def __init__(self, consent: Consent, state: ConsentState, epoch: int) -> None:
        self._consent = consent
        self._epoch = epoch
        self.purpose = state.purpose
        self.server = state.server

    def check(self) -> None:
        """Go on, or not. Cheap enough to call before every step.

        Raises:
            ConsentMissing: withdrawn since, here or in another process, even where it was granted anew; or it ran out.
        """
        self._consent._still(self.purpose, self.server, self._epoch)


class Consent:
    """The owner's answers.

    Args:
        store: of the device.
        chain: its chain ``consent``.
        clock: the device's clock.
        witness: notices that an older copy of the store was put back; None trusts the store.
    """

    def __init__(self, store: Store, chain: Chain, clock: Clock, witness: Witness | None = None) -> None:
        self._store = store
        self._chain = chain
        self._clock = clock
        self._witness = witness
        self._callbacks: list[Callable[[Purpose, str], object]] = []
        self._ended_here: set[tuple[str, str]] = set()  # withdrawals, kept here even if the disk is full

    # -- answers --

    def grant(self, purpose: str, *, server: str, days: int = 365, seen: int | None = None) -> ConsentState:
        """Record a yes to the current notice of a purpose.

        Args:
            purpose: one of :data:`~fedpersona.device.notice.PURPOSES`.
            server: the address it is for, and no other.
            days: how long it holds, 1 to 3,650.
            seen: the :attr:`epoch` at the time that the owner was shown how things stand; a no that was recorded
                since then wins over this yes.

        Raises:
            UnknownName: there is no such purpose.
            ConfigError: not an address, or not a number of days.
            ConsentMissing: Global Privacy Control is on, or a no came in between; nothing was recorded.
        """
        found, address = notice(purpose), normalised(server)
        if type(days) is not int or not 1 <= days <= _MOST_DAYS:
            raise ConfigError(f"a yes holds for 1 to {_MOST_DAYS:,} days, not {days}: it can be given again")
        seen = self.epoch if seen is None else seen
        with self._store.writing() as cursor:
            if self._gpc():
                raise ConsentMissing(GPC_ON)
            if any(says_no(entry, purpose, address) for entry in self._chain.entries(max(0, seen))):
                raise ConsentMissing(
                    f"{purpose} for {address}: a no was recorded meanwhile, and it wins; "
                    "look how things stand, and answer again if you want to"
                )
            self._append(cursor, "given", found, address, days)
        self._witnessed()
        self._ended_here.discard((found.purpose, address))
        return self.state(purpose, address)

    def refuse(self, purpose: str, *, server: str) -> ConsentState:
        """Record a no. It ends a yes at once, as :meth:`withdraw` does.

        Raises:
            UnknownName: there is no such purpose.
            ConfigError: not an address.
        """
        return self._say_no("refused", purpose, server)

    def withdraw(self, purpose: str, *, server: str) -> ConsentState:
        """Take a yes back, at once: whatever is under way stops. Where no yes was ever given it is recorded as a no.

        Where that leaves a yes of this purpose to another server, a warning in the log names it: it may be the one
        that was meant.

        Even where it cannot be written (a full disk, a broken chain) this object sends nothing more; the error says
        that it must be repeated.

        Raises:
            UnknownName: there is no such purpose.
            ConfigError: not an address.
        """
        state = self._say_no("withdrawn", purpose, server)
        standing = [other.server for other in self.states() if other.granted and other.purpose == purpose]
        if state.status == "refused" and standing:
            _LOG.warning(
                "no yes to %s was ever given to %s; a yes stands for %s",
                state.purpose,
                state.server,
                " and ".join(standing),
            )
        return state

    def on_withdraw(self, callback: Callable[[Purpose, str], object]) -> None:
        """Call back with purpose and server whenever this object records a no, before the call that did so returns.

        For a withdrawal in another process there is no call: :meth:`Permit.check` sees it.
        """
        self._callbacks.append(callback)

    # -- how things stand --

    def state(self, purpose: str, server: str) -> ConsentState:
        """Return how a purpose stands with a server.

        Raises:
            UnknownName: there is no such purpose.
            ConfigError: not an address.
            ChainBroken: the records are not those that this device signed.
        """
        return self._state(notice(purpose), normalised(server))

    def _state(self, found: Notice, address: str) -> ConsentState:
        purpose, entries = found.purpose, self._chain.entries()
        last = next((entry for entry in reversed(entries) if is_about(entry, purpose, address)), None)
        return self._stands(found, address, last, last_gpc(entries))

    def states(self) -> tuple[ConsentState, ...]:
        """Return how everything stands that was ever answered, in the order of the first answers.

        Raises:
            ChainBroken: the records are not those that this device signed.
        """
        keys = dict.fromkeys(key for entry in self._chain.entries() if (key := subject(entry)) is not None)
        return tuple(self._state(notice(purpose), server) for purpose, server in keys)

    def granted(self, purpose: str, server: str) -> bool:
        """Tell whether something may be sent for this purpose to this server, now."""
        return self.state(purpose, server).granted

    def require(self, purpose: str, server: str) -> ConsentState:
        """Go on only with a yes.

        Raises:
            ConsentMissing: there is none; says why, and what to do.
        """
        state = self.state(purpose, server)
        if not state.granted:
            raise ConsentMissing(advice(state))
        return state

    def permit(self, purpose: str, server: str) -> Permit:
        """Return a permit to hold through a round.

        Raises:
            ConsentMissing: there is no yes; says why, and what to do.
        """
        epoch = self.epoch  # before the look: what comes in between is looked at again
        return Permit(self, self.require(purpose, server), epoch)

    @property
    def epoch(self) -> int:
        """How many records there are, over all processes: it grows with every answer."""
        return self._chain.length

    # -- Global Privacy Control --

    @property
    def global_privacy_control(self) -> bool:
        """Whether Global Privacy Control counts as a no to everything; setting it is recorded as an answer is.

        Turning it on ends every yes; turning it off brings none back. The environment variable counts while it is
        set, and is not recorded.
        """
        return self._gpc()

    @global_privacy_control.setter
    def global_privacy_control(self, on: bool) -> None:
        if not on and self._chain_gpc() is False:
            return
        ending = [state for state in self.states() if state.granted] if on else []
        with self._ending([(state.purpose, state.server) for state in ending]), self._store.writing() as cursor:
            if self._chain_gpc() is not on:
                at = self._clock.keep(cursor)
                self._chain.append(cursor, {"schema_version": "fedpersona 1", "global_privacy_control": bool(on)}, at)
        self._witnessed()

    def heed(self, sec_gpc: str | None) -> None:
        """Take the value of a request's ``Sec-GPC`` header from the host app: ``1`` turns the setting on.

        Anything else says nothing (W3C Global Privacy Control) and leaves it as it is.
        """
        if sec_gpc is not None and sec_gpc.strip() == "1" and not self._chain_gpc():
            self.global_privacy_control = True

    # -- records --

    def verify(self) -> int:
        """Check the whole chain and return how many records there are.

        Raises:
            ChainBroken: names the first record that was changed, removed or moved.
        """
        return self._chain.verify()

    def records(self) -> list[dict[str, Any]]:
        """Return all records, oldest first, with hashes and signatures, JSON-native; unchecked, for an export."""
        return self._chain.export()

    # -- inner workings --

    def _say_no(self, answer: Answer, purpose: str, server: str) -> ConsentState:
        found, address = notice(purpose), normalised(server)
        with self._ending([(found.purpose, address)]), self._store.writing() as cursor:
            mine = [entry for entry in self._chain.entries() if is_about(entry, purpose, address)]
            if answer == "withdrawn" and not any(answer_of(entry) == "given" for entry in mine):
                answer = "refused"
            if not (mine and answer_of(mine[-1]) == answer and notice_hash(mine[-1]) == found.sha256):
                self._append(cursor, answer, found, address, None)
        self._witnessed()
        return self.state(purpose, address)

    def _witnessed(self) -> None:
        """Have it known outside of the store that an answer was written, so that an older copy of it shows.

        Where that fails the answer stands all the same, and is known there with the next one, or before the next send.
        """
        if self._witness is not None:
            with suppress(DiskFull, OutputError, VaultBusy, RolledBack):
                self._witness.advance()

    @contextmanager
    def _ending(self, keys: list[tuple[Purpose, str]]) -> Iterator[None]:
        """End what these answers allowed, in this process, whether or not the no could be written."""
        self._ended_here.update(keys)
        try:
            yield
            self._ended_here.difference_update(keys)  # it is written: the chain tells from now on
        finally:
            for purpose, server in keys:
                for callback in self._callbacks:
                    try:
                        callback(purpose, server)
                    except Exception as error:  # a no is a no: one listener's fault must not keep it from the others
                        _LOG.warning("a listener to withdrawals failed: %s", type(error).__name__)

    def _append(self, cursor: Cursor, answer: Answer, found: Notice, server: str, days: int | None) -> None:
        at = self._clock.keep(cursor)
        before = [entry for entry in self._chain.entries() if is_about(entry, found.purpose, server)]
        record_id = str(uuid.uuid4())
        if answer == "withdrawn" and before:
            record_id = str(before[-1].body["record_id"])
        record = consent_record(
            answer,
            notice=found,
            server=server,
            record_id=record_id,
            principal=_principal(cursor),
            at=at,
            days=days,
        )
        own = {"until": None if days is None else at + days * _DAY, "clock_era": self._clock.era}
        self._chain.append(cursor, {**record, "fedpersona": own}, at)

    def _stands(self, found: Notice, server: str, last: Entry | None, gpc: Entry | None) -> ConsentState:
        """Work out the state from the last answer and the last change of Global Privacy Control."""

        def be(status: Status, since: int | None = None, until: int | None = None) -> ConsentState:
            return ConsentState(found.purpose, server, status, since, until)

        if self._gpc():
            return be("refused by Global Privacy Control", gpc.at if gpc and gpc_on(gpc) else None)
        if last is None:
            return be("unasked")
        answer, until = answer_of(last), last.body["fedpersona"]["until"]
        if answer != "given":
            return be("withdrawn" if answer == "withdrawn" else "refused", last.at)
        if gpc is not None and gpc.number > last.number:
            return be("withdrawn", gpc.at, until)
        if (found.purpose, server) in self._ended_here:
            return be("withdrawn", self._clock.now(), until)
        if last.body["fedpersona"]["clock_era"] != self._clock.era or until <= self._clock.now():
            return be("expired", min(until, self._clock.now()), until)
        if notice_hash(last) != found.sha256:
            return be("notice changed", last.at, until)
        return be("granted", last.at, until)

    def _still(self, purpose: Purpose, server: str, epoch: int) -> None:
        """Raise ConsentMissing unless the yes of ``epoch`` has been there all along."""
        state = self.require(purpose, server)
        if self.epoch != epoch and any(
            says_no(entry, state.purpose, state.server) for entry in self._chain.entries(epoch)
        ):
            raise ConsentMissing(
                f"{purpose} for {server}: withdrawn meanwhile; what was under way under the earlier yes is stopped"
            )

    def _gpc(self) -> bool:
        return gpc_variable_on(os.environ) or self._chain_gpc()

    def _chain_gpc(self) -> bool:
        last = last_gpc(self._chain.entries())
        return last is not None and gpc_on(last)


def _principal(cursor: Cursor) -> str:
    """Return this device's random name for its owner; it tells nothing about them and is never sent."""
    row = cursor.execute("SELECT value FROM settings WHERE name = ?", (_PRINCIPAL,)).fetchone()
    if row is not None:
        return bytes(row[0]).decode("ascii", "replace")
    name = f"owner-{secrets.token_hex(16)}"
    cursor.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (_PRINCIPAL, name.encode()))
    return name
