"""The tree of exceptions. Every message says what happened, where, and what to do.

::

    FedpersonaError
    ├── InputError                 a person can mend it; the command line exits with 2
    │   ├── DataError              a file or an array that is not what it should be
    │   │   ├── DataNotFound       nothing is there to read
    │   │   ├── SplitError         a train/validation/test split that would mislead
    │   │   ├── UnsafeArchive      a zip that would unpack to more than it should, or elsewhere
    │   │   ├── SignatureInvalid   a signed file that was changed, or signed by another key
    │   │   └── NoKnownItem        a history of which the catalogue knows nothing
    │   ├── ConfigError            a setting or an option out of its range
    │   │   └── UnknownName        a model, dataset or option that does not exist
    │   ├── OutputError            a place that cannot be written
    │   ├── DeviceError            what a person's device keeps, or cannot open
    │   │   ├── DeviceClosed       closed or forgotten: nothing is left to use
    │   │   ├── KeyUnavailable     no keyring and no passphrase, or a key that cannot be read
    │   │   ├── WrongKey           a key or passphrase that does not open this vault
    │   │   ├── VaultDamaged       stored bytes that are not those that were written
    │   │   ├── VaultTooNew        a vault that a newer version wrote
    │   │   ├── VaultBusy          a vault that another process held for too long
    │   │   ├── DiskFull           no room to write; what was there before is whole
    │   │   └── ChainBroken        a ledger or consent entry that was changed, removed or moved
    │   ├── ServerUnreachable      no server answers at an address
    │   │   └── ServerUntrusted    another certificate than the agreed one, a redirect, or no TLS
    │   ├── EnrolmentRefused       an invitation or token that is unknown, used, expired or taken back
    │   └── ServerError            what an operator's server keeps, or cannot start with
    │       ├── UnsafeServer       a server that would speak without TLS off loopback
    │       ├── PortTaken          an address that another program listens on
    │       ├── ServerRunning      a state folder that another server works with
    │       └── StateDamaged       a database or model file that is not what was written
    │           └── BudgetDamaged  an account of the privacy budget that was cut, changed or put back
    ├── Refusal                    the device's own no: nothing of its owner's was sent
    │   ├── ConsentMissing         the owner has not said yes, has said no, or must be asked again
    │   ├── BelowFloor             a plan that asks for less care than the owner's policy
    │   ├── PlanRefused            a plan, model or message that is not what it should be
    │   │   ├── PlanForged         signed by another key than the operator's, or not at all
    │   │   ├── PlanReplayed       a plan of a round that is over
    │   │   ├── PlanExpired        a plan whose time has passed
    │   │   └── OtherFederation    a plan for another federation than the one joined
    │   ├── RoundClosed            a round that the server gave up, or began without this device
    │   ├── ClockUnsure            a clock that jumped, so that nothing that counts time can be trusted
    │   ├── RolledBack             an older copy of the vault in place of the one that was there
    │   └── Stopped                stopped half-way, by a withdrawal or by the app
    ├── WireError                  something that must not cross the wall, or does not fit
    │   ├── LayoutMismatch         an update that is not of the declared layout
    │   ├── ParcelRefused          a message of another type, record, size or form than agreed
    │   │   └── ReplyUnsigned      an answer that its device did not sign
    │   ├── BoundExceeded          a contribution above its declared bound
    │   └── SumOverflow            a sum that could wrap around in its ring
    ├── RoundFailed                a round that may not release a sum
    │   ├── CohortTooSmall         fewer devices answered than the agreed minimum
    │   │   └── DevicesAbsent      fewer devices are there than a round waits for; nobody was asked
    │   ├── DevicesLeft            too many devices left after the roster was closed; the sum cannot be opened
    │   ├── SumSpoilt              what devices sent does not fit together; no sum is believed
    │   └── BudgetSpent            what is left of the privacy budget does not pay for it; nothing is released
    └── NonFiniteScore             a model scored an item NaN or infinite
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BelowFloor",
    "BoundExceeded",
    "BudgetDamaged",
    "BudgetSpent",
    "ChainBroken",
    "ClockUnsure",
    "CohortTooSmall",
    "ConfigError",
    "ConsentMissing",
    "DataError",
    "DataNotFound",
    "DeviceClosed",
    "DeviceError",
    "DevicesAbsent",
    "DevicesLeft",
    "DiskFull",
    "EnrolmentRefused",
    "FedpersonaError",
    "InputError",
    "KeyUnavailable",
    "LayoutMismatch",
    "NoKnownItem",
    "NonFiniteScore",
    "OtherFederation",
    "OutputError",
    "ParcelRefused",
    "PlanExpired",
    "PlanForged",
    "PlanRefused",
    "PlanReplayed",
    "PortTaken",
    "Refusal",
    "ReplyUnsigned",
    "RolledBack",
    "RoundClosed",
    "RoundFailed",
    "ServerError",
    "ServerRunning",
    "ServerUnreachable",
    "ServerUntrusted",
    "SignatureInvalid",
    "SplitError",
    "StateDamaged",
    "Stopped",
    "SumOverflow",
    "SumSpoilt",
    "UnknownName",
    "UnsafeArchive",
    "UnsafeServer",
    "VaultBusy",
    "VaultDamaged",
    "VaultTooNew",
    "WireError",
    "WrongKey",
]


class FedpersonaError(Exception):
    """Base of every error that fedpersona raises on purpose."""


class InputError(FedpersonaError):
    """A person can mend it: a file, a setting, a place to write to."""


class DataError(InputError):
    """A file or an array that is not what it should be.

    Args:
        problem: what is wrong and what to do, as one sentence.
        path: the file it was found in.
        place: where in the file: an array name and index, or a line.
    """

    def __init__(self, problem: str, *, path: str | Path | None = None, place: str | None = None) -> None:
        where = ": ".join(str(part) for part in (path, place) if part is not None)
        super().__init__(f"{where}: {problem}" if where else problem)
        self.path = path
        self.place = place


class DataNotFound(DataError):
    """Nothing is there to read."""


class SplitError(DataError):
    """A train/validation/test split that would mislead whoever reads its figures."""


class UnsafeArchive(DataError):
    """A zip that would unpack to more than it should, or to another place."""


class SignatureInvalid(DataError):
    """A signed file that was changed since, or that another key signed."""


class NoKnownItem(DataError):
    """A history of which the catalogue knows nothing: there is nothing to learn from it yet."""


class ConfigError(InputError):
    """A setting or an option out of its range."""


class UnknownName(ConfigError):
    """A model, dataset or option that does not exist."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} '{name}': choose one of {', '.join(known)}")
        self.name = name
        self.known = known


class OutputError(InputError):
    """A place that cannot be written."""


class DeviceError(InputError):
    """What a person's device keeps, or cannot open."""


class DeviceClosed(DeviceError):
    """The device was closed or forgotten: nothing is left to use."""


class KeyUnavailable(DeviceError):
    """There is no keyring and no passphrase, or the key cannot be read."""


class WrongKey(DeviceError):
    """The key or passphrase does not open this vault."""


class VaultDamaged(DeviceError):
    """Stored bytes are not those that were written."""


class VaultTooNew(DeviceError):
    """A newer version of fedpersona wrote this vault."""


class VaultBusy(DeviceError):
    """Another process held the vault for too long."""


class DiskFull(DeviceError):
    """There is no room to write; what was committed before is whole."""


class ChainBroken(DeviceError):
    """An entry of a hash chain was changed, removed or moved.

    Args:
        chain: ``ledger`` or ``consent``.
        number: the first entry that does not fit, counted from 1.
        problem: what is wrong with it.
    """

    def __init__(self, chain: str, number: int, problem: str) -> None:
        super().__init__(
            f"{chain}: entry {number} {problem}; nothing more is sent from here. "
            "Keep a copy with 'export', then 'forget' to begin anew."
        )
        self.chain = chain
        self.number = number


class ServerUnreachable(InputError):
    """No server answers at an address."""


class ServerUntrusted(ServerUnreachable):
    """Something answers there, but not the agreed server: another certificate, a redirect, or no TLS."""


class EnrolmentRefused(InputError):
    """An invitation or token is unknown, used, expired or taken back."""


class ServerError(InputError):
    """What an operator's server keeps, or cannot start with."""


class UnsafeServer(ServerError):
    """The server would speak without TLS to other machines."""


class PortTaken(ServerError):
    """Another program listens on the address."""


class ServerRunning(ServerError):
    """Another server works with the same state folder."""


class StateDamaged(ServerError):
    """A database or model file is not what was written."""


class BudgetDamaged(StateDamaged):
    """The account of the privacy budget was cut off, changed, removed or put back from an older copy."""


class Refusal(FedpersonaError):
    """The device's own no: nothing more is sent, and the ledger says why."""


class ConsentMissing(Refusal):
    """The owner has not said yes, has said no, or must be asked again."""


class BelowFloor(Refusal):
    """A plan asks for less care than the owner's policy demands."""


class PlanRefused(Refusal):
    """A plan, a shared model or a roster is not what it should be."""


class PlanForged(PlanRefused):
    """A plan or model that the operator's key did not sign."""


class PlanReplayed(PlanRefused):
    """A plan of a round that is over: each is answered once."""


class PlanExpired(PlanRefused):
    """A plan whose time has passed."""


class OtherFederation(PlanRefused):
    """A plan for another federation than the one this device joined."""


class RoundClosed(Refusal):
    """The server gave a round up, or began it without this device; another may follow."""


class ClockUnsure(Refusal):
    """The clock jumped, so that nothing that counts time can be trusted until it has settled."""


class RolledBack(Refusal):
    """An older copy of the vault is in place of the one that was there: what left since is not in its ledger."""


class Stopped(Refusal):
    """Stopped half-way, by a withdrawal or by the app; what was queued was destroyed."""


class WireError(FedpersonaError):
    """Something that must not cross the wall, or does not fit what was declared."""


class LayoutMismatch(WireError):
    """An update that is not of the layout its model declared."""


class ParcelRefused(WireError):
    """A message of another type, record, size or form than agreed."""


class ReplyUnsigned(ParcelRefused):
    """An answer is not signed by the device that it is said to be from."""


class BoundExceeded(WireError):
    """A contribution above the bound that its layout declares."""


class SumOverflow(WireError):
    """A sum that could wrap around in its ring, were it taken."""


class RoundFailed(FedpersonaError):
    """A round that may not release a sum."""


class CohortTooSmall(RoundFailed):
    """Fewer devices answered than the agreed minimum."""

    def __init__(self, round_number: int, answered: int, minimum: int) -> None:
        super().__init__(
            f"round {round_number}: {answered} devices answered, the agreed minimum is {minimum}; "
            "nothing was released. Enlarge the cohort, lower the drop-out, or lower min_count."
        )
        self.round_number = round_number
        self.answered = answered
        self.minimum = minimum


class DevicesAbsent(CohortTooSmall):
    """Fewer devices are there than a round waits for; nobody was asked."""

    def __init__(self, round_number: int, present: int, wanted: int) -> None:
        super().__init__(round_number, present, wanted)
        self.args = (
            f"round {round_number}: {present} devices are there, the round waits for {wanted}; nobody was asked. "
            "It is tried again; enrol more devices, or lower wait_for and min_count.",
        )


class DevicesLeft(RoundFailed):
    """So many devices left after the roster was closed that the sum cannot be opened: nothing is released."""

    def __init__(self, round_number: int, lost: int, of: int) -> None:
        super().__init__(
            f"round {round_number}: too many devices left after the roster was closed: the masks of {lost} of {of} "
            "devices cannot be taken off, so nothing can be read, and nothing was released. "
            "The next attempt takes new keys."
        )
        self.lost = lost


class SumSpoilt(RoundFailed):
    """What devices sent does not fit together: no sum is believed, and nothing is released."""

    def __init__(self, round_number: int, why: str) -> None:
        super().__init__(
            f"round {round_number}: {why}; the sum is not believed, and nothing was released. "
            "The next attempt takes new keys."
        )


class BudgetSpent(RoundFailed):
    """What is left of the privacy budget does not pay for it: nothing is asked, and nothing is released."""


class NonFiniteScore(FedpersonaError):
    """A model scored an item NaN or infinite; such a score has no rank."""
