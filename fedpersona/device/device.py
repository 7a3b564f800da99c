"""A person's device, as an app sees it: history, consent, ledger, playlist, and the way to take part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import tzinfo
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fedpersona.catalogue import Catalogue
from fedpersona.device.address import normalised
from fedpersona.device.background import Stop
from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.clock import Clock
from fedpersona.device.conditions import Conditions, current_probe
from fedpersona.device.consent import Consent
from fedpersona.device.enrolment import Enrolments, Identity
from fedpersona.device.folder import DATABASE, named_folder
from fedpersona.device.forgetting import forget_folder
from fedpersona.device.keys import Key, open_key
from fedpersona.device.ledger import Ledger
from fedpersona.device.link import is_provided, provided
from fedpersona.device.membership import Membership
from fedpersona.device.playlist import WeeklyConfig
from fedpersona.device.shelf import Shelf
from fedpersona.device.spending import DELTA
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.device.weekly import Weekly, WeeklyPlaylist
from fedpersona.device.witness import Witness
from fedpersona.errors import ChainBroken, ConfigError, NoKnownItem, ServerUnreachable
from fedpersona.plays import Plays

if TYPE_CHECKING:
    from fedpersona.device.ledger import LedgerEntry
    from fedpersona.device.link import Link
    from fedpersona.device.policy import Policy
    from fedpersona.device.visit import Visited
    from fedpersona.wire.invitation import Invitation

__all__ = ["Device"]


class Device:
    """Everything on the left of the wall, in one folder. Open it with :meth:`open`; use it in a ``with`` block.

    One object may be used from several threads, and several processes may open one folder.
    """

    vault: Vault
    """The owner's listening history, encrypted."""
    consent: Consent
    """What the owner said yes and no to."""
    ledger: Ledger
    """What left, what was refused, and why."""
    shelf: Shelf
    """The public catalogue and shared model in use."""
    enrolments: Enrolments
    """The servers known by invitation, and this device's place with each."""

    def __init__(self, folder: Path, key: Key, *, clock: Callable[[], float], zone: tzinfo | None) -> None:
        self.folder = folder
        self._key = key
        self._store = Store(folder / DATABASE, key.secret)
        try:
            self._furnish(clock, zone)
        except BaseException:
            self._store.close()
            raise

    def _furnish(self, clock: Callable[[], float], zone: tzinfo | None) -> None:
        signer = signing_key(self._store)
        self.clock = Clock(self._store, clock)
        self.vault = Vault(self._store, self.clock)
        consents, entries = Chain(self._store, "consent", signer), Chain(self._store, "ledger", signer)
        self._witness = Witness(self.folder, self._key, self._store, (consents, entries))
        self.consent = Consent(self._store, consents, self.clock, self._witness)
        self.ledger = Ledger(self._store, entries, self.clock, self._witness)
        self.shelf = Shelf(self._store)
        self.enrolments = Enrolments(self._store, self.ledger)
        self._weekly = Weekly(self._store, self.vault, self.shelf, self.clock, zone)
        self._memberships: list[Membership] = []
        self._seen: dict[str, str] = {}
        self.consent.on_withdraw(self._heed_no)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        passphrase: str | Callable[[], str] | None = None,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
    ) -> Device:
        """Open a device's folder, or make it.

        Args:
            folder: where everything is kept; ``~`` is the home folder.
            passphrase: protects the key where the system has no keyring, or something that asks for it;
                ``FEDPERSONA_PASSPHRASE`` stands in for it.
            clock: gives Unix seconds; another one is for tests.
            zone: the owner's time zone, in which a week begins; by default the system's.

        Raises:
            DeviceError: it cannot be opened; the error's class says why, its words what to do.
        """
        key = open_key(named_folder(folder), passphrase)
        return cls(named_folder(folder), key, clock=clock, zone=zone)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Device({str(self.folder)!r})"

    @property
    def notices(self) -> tuple[str, ...]:
        """What the owner should know about how this device is protected."""
        return self._key.notices

    @property
    def policy(self) -> Policy:
        """The owner's floors; assign another to change them."""
        from fedpersona.device.policy import Policy  # with it come the taste models: opening does not wait for them

        return Policy.load(self._store)

    @policy.setter
    def policy(self, policy: Policy) -> None:
        from fedpersona.device.policy import Policy

        if not isinstance(policy, Policy):
            raise ConfigError(f"a policy is a fedpersona.Policy, not {type(policy).__name__}: Policy(least_cohort=100)")
        policy.save(self._store)

    @property
    def catalogue(self) -> Catalogue:
        """The public catalogue in use: the last server's, or the starter catalogue that comes with fedpersona."""
        return self.shelf.catalogue

    def plays(self) -> Plays:
        """Return the owner's history over the rows of the catalogue in use, as a taste model takes it.

        Raises:
            NoKnownItem: the catalogue knows nothing of it. The history is kept all the same.
        """
        plays = self.vault.plays(self.catalogue)
        if not len(plays):
            raise NoKnownItem(
                f"nothing that was played is among the catalogue's {len(self.catalogue):,} {self.catalogue.kind}s: "
                "import more of the history, or join a server whose catalogue has this music"
            )
        return plays

    def playlist(self, config: WeeklyConfig | None = None) -> WeeklyPlaylist:
        """Return this week's playlist. It needs no network and no consent.

        The same all week; a list that was not personal yet is replaced once a more personal one can be made.
        """
        return self._weekly.playlist(config)

    def enrol(self, invitation: str | Invitation) -> Identity:
        """Take up an operator's invitation; ``join`` reaches the server from then on. Nothing of the history is sent.

        The server gets two public keys that were made for it alone, and the invitation's token. Where its answer is
        lost, take the same invitation up again. One without a token only makes the server known, and asks nothing.

        Raises:
            EnrolmentRefused: it is no invitation, or the server does not take it.
            SignatureInvalid: another operator's key is pinned for this address; nothing was sent or changed.
            ServerUntrusted: something else than the invitation's server answers.
            ServerUnreachable: no whole answer came.
        """
        return self.enrolments.enrol(invitation)

    @property
    def identities(self) -> tuple[Identity, ...]:
        """What this device is to each server it knows by invitation."""
        return self.enrolments.all()

    def join(
        self,
        server: str,
        *,
        when: Conditions | None = None,
        key: bytes | None = None,
        wait: float = 10.0,
    ) -> Membership:
        """Take part in a server's federation, in the background, whenever the conditions are met.

        Without consent to ``share_update`` it takes the public model and sends nothing of the owner's. A server on
        the network has to be known by an invitation first: see :meth:`enrol`. Nothing that goes wrong in the
        background is raised: see :attr:`Membership.state` and the ledger.

        Args:
            server: the address.
            when: the owner's conditions; by default there are none.
            key: the operator's Ed25519 public key, 32 bytes; by default the first one seen is kept to.
            wait: wait at most so many seconds for the first visit to end; 0 returns at once.

        Raises:
            ConfigError: the address is none.
            ServerUnreachable: no invitation to this server was taken up.
        """
        from fedpersona.device.gate import Gate
        from fedpersona.device.visit import visit

        address = normalised(server)
        self._check_known(address)
        conditions = when or Conditions()
        gate = Gate(self.vault, self.consent, lambda: self.policy, self.ledger, self.clock)

        def one_visit(stop: Stop) -> Visited:
            link = self._way(address, stop)
            try:
                return visit(
                    address,
                    link,
                    gate=gate,
                    shelf=self.shelf,
                    ledger=self.ledger,
                    stop=stop,
                    key=key,
                    unmet=lambda: conditions.unmet(current_probe().look()),
                )
            finally:
                membership.rest = link.rest

        membership = Membership(address, one_visit, conditions)
        self._memberships.append(membership)
        membership.start()
        membership.wait(wait)
        return membership

    def _check_known(self, address: str) -> None:
        if not is_provided(address) and self.enrolments.identity(address) is None:
            raise ServerUnreachable(
                f"{address}: this device knows no such server: take up an invitation of its operator's with "
                "'fedpersona device enrol' ('fedpersona device join practice' needs none)"
            )

    def _way(self, address: str, stop: Stop) -> Link:
        """Return the way to a server of this process, or over the network to one that the device is enrolled with."""
        link = provided(address)
        if link is not None:
            return link
        from fedpersona.device.network_link import NetworkLink

        self._check_known(address)
        identity = self.enrolments.identity(address)
        assert identity is not None  # noqa: S101 - checked in the line before
        return NetworkLink(identity, self.enrolments.replays, stop, self._seen)

    def leave(self, server: str) -> None:
        """Stop taking part in a server's federation. Consents stay as they are."""
        self._stop_memberships(normalised(server))

    def _heed_no(self, purpose: str, server: str) -> None:
        if purpose == "share_update":
            self._stop_memberships(server)

    def _stop_memberships(self, server: str | None = None) -> None:
        ending = [one for one in self._memberships if server in (None, one.server)]
        self._memberships = [one for one in self._memberships if one not in ending]
        for membership in ending:
            membership.stop()

    def status(self) -> Mapping[str, Any]:
        """Return what is kept and what is set, in numbers and words, JSON-native; no title and no artist."""
        first, last = self.vault.span() or (None, None)
        trained = self.shelf.trained
        return {
            "folder": str(self.folder),
            "listens": self.vault.count(),
            "first_listen": first,
            "last_listen": last,
            "retention_days": self.vault.retention_days,
            "catalogue": repr(self.catalogue),
            "shared_model": None
            if trained is None
            else f"{trained.shared.model}, {trained.shared.round_number} rounds",
            **self._answers(),
            "key": self._key.kind,
            "notices": list(self.notices),
            "policy": self.policy.model_dump(mode="json"),
        }

    def _answers(self) -> dict[str, Any]:
        """Return what the two chains say, or that one is broken: its owner must be able to see and export it."""
        try:
            return {
                "consents": [state.to_dict() for state in self.consent.states()],
                "contributions": self.ledger.count("sent"),
                "privacy": self._account(),
                "rolled_back": self._witness.problem(),
            }
        except ChainBroken as error:
            return {"consents": [], "contributions": None, "privacy": None, "rolled_back": None, "broken": str(error)}

    def _account(self) -> dict[str, Any]:
        """Return what taking part has cost at worst, by this device's own account: over its life, and by server."""
        servers = dict.fromkeys(str(entry.server) for entry in self.ledger.contributions())
        return {
            "delta": DELTA,
            "life": self.ledger.spent().told(),
            "servers": {server: self.ledger.spent(server).told() for server in servers},
        }

    @property
    def rolled_back(self) -> str | None:
        """How it shows that an older copy of the vault was put back; None where it was not.

        As long as it is so nothing is sent: show it, and see :meth:`acknowledge`.

        Raises:
            ChainBroken: a chain is not what this device signed.
        """
        return self._witness.problem()

    def acknowledge(self) -> LedgerEntry:
        """Go on with an older copy of the vault, because its owner said that they know it is one.

        The ledger says so, with what is known to have been spent since. Where answers are missing every yes ends: it
        may have been taken back since, so ask again.

        Raises:
            ConfigError: no older copy was put back.
            ChainBroken: a chain is not what this device signed.
        """
        problem = self.rolled_back
        if problem is None:
            raise ConfigError("no older copy of this vault was put back: there is nothing to acknowledge")
        if self._witness.behind("consent"):
            for state in self.consent.states():
                if state.granted:
                    self.consent.withdraw(state.purpose, server=state.server)
        return self.ledger.acknowledge(problem)

    def export(self, path: str | Path) -> Path:
        """Write everything that is kept about the owner as one zip of JSON lines and JSON.

        Raises:
            OutputError: the file cannot be written, or is there already.
        """
        from fedpersona.device.export import write_export

        target = write_export(Path(path).expanduser(), self)
        self.ledger.exported(what=f"everything kept here, for the owner, as {target.suffix.lstrip('.')}")
        return target

    def parts(self) -> Mapping[str, Any]:
        """Return what an export holds, by file name."""
        return {
            "listens.jsonl": self.vault.export(),
            "consents.json": self.consent.records(),
            "ledger.json": self.ledger.export(),
            "playlists.json": self._weekly.export(),
            "enrolments.json": self.enrolments.export(),
            "status.json": dict(self.status()),
        }

    def check(self) -> None:
        """Read everything and hold it against its checksums, hashes and signatures.

        Raises:
            VaultDamaged: bytes on disk are not those that were written.
            ChainBroken: an entry of the ledger or of the consents was changed, removed or moved.
            RolledBack: an older copy of the vault was put back.
        """
        self._store.check()
        self.ledger.verify()
        self.consent.verify()
        self._witness.check()

    def forget(self) -> None:
        """Delete everything: the key first, then every file. Nothing of it can be read again, by anyone.

        Raises:
            OutputError: a file could not be removed; the key is gone all the same.
        """
        self._stop_memberships()
        self._store.close()
        try:
            self._key.destroy()
        finally:
            forget_folder(self.folder)

    def close(self) -> None:
        """Stop what runs in the background and close the folder."""
        self._stop_memberships()
        self._store.close()
