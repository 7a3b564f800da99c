"""The privacy budget of a federation: what its releases have cost a person, and what they may cost.

The spend for a sum is on the disk before the sum is released; a kill in between can only have counted too much. Nothing
gives back what was spent. What was counted is remembered twice: in the account (:mod:`.budget_file`), and in the
server's database, which is written after it. So an account that goes on from what the database remembers is whole, and
one that does not was cut off, changed or put back from an older copy.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.budget_entries import FIRST, Changed, Entry, Opened, Said, Spent, share_of, signed_entry
from fedpersona.aggregation.budget_file import BudgetFile, Mark, held_file, read_file
from fedpersona.aggregation.budget_witness import remember, remembered
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.protecting import costliest, epsilon_of
from fedpersona.errors import BudgetDamaged, BudgetSpent, ConfigError
from fedpersona.privacy.gaussian import gaussian_epsilon, gaussian_mu
from fedpersona.wire.plan import Plan

__all__ = ["Balance", "Budget", "balance_of", "open_budget", "read_balance"]


@dataclass(frozen=True)
class Balance:
    """What an account comes to."""

    entries: tuple[Entry, ...]
    opened: Opened
    limit: float
    """The largest ε, as it is now."""
    epsilon: float
    """What has been spent of it, by the larger of two counts."""
    square: float
    """The same as the square of μ: squares add up."""

    @property
    def delta(self) -> float:
        """The δ of both."""
        return self.opened.delta

    @property
    def releases(self) -> int:
        """Sums that were released, or were about to be."""
        return sum(isinstance(entry.said, Spent) for entry in self.entries)

    @property
    def changes(self) -> list[tuple[Entry, Changed]]:
        """How the limit was changed, the oldest first."""
        return [(entry, entry.said) for entry in self.entries if isinstance(entry.said, Changed)]

    @property
    def mark(self) -> Mark:
        """How far the account has come."""
        return Mark.of(self.entries[-1])

    @property
    def left(self) -> float:
        """ε of the costliest training that would still fit, rounded down; 0 where none does.

        Not the difference: what two trainings cost together is less than the sum of what each costs.
        """
        if self.square == 0.0:
            return self.limit
        square = gaussian_mu(self.limit, self.delta) ** 2 - self.square
        return gaussian_epsilon(math.sqrt(square), self.delta) if square > 0.0 else 0.0

    def with_shares(self, training: int, shares: Mapping[int, float], separation: int) -> float:
        """Return the ε that this account would come to with further rounds.

        Args:
            training: theirs.
            shares: what each round adds to the square of μ, by round number.
            separation: a device is in at most one of so many rounds that follow each other.
        """
        return epsilon_of(math.sqrt(_square(self.entries, (training, shares, separation))), self.delta)


def balance_of(entries: Sequence[Entry]) -> Balance:
    """Return what the entries of an account come to; there is at least the first."""
    opened = entries[0].said
    if not isinstance(opened, Opened):
        raise TypeError("the first entry of an account opens it")
    limit, told = opened.limit, 0.0
    for entry in entries:
        if isinstance(entry.said, Spent):
            told = max(told, entry.said.epsilon)
        else:
            limit = entry.said.limit
    square = _square(entries)
    exact = gaussian_epsilon(math.sqrt(square), opened.delta)
    return Balance(tuple(entries), opened, limit, max(told, exact), square)


def _square(entries: Sequence[Entry], more: tuple[int, Mapping[int, float], int] | None = None) -> float:
    """Return the square of μ of whoever was in the costliest rounds of every training that one device can be in."""
    shares: dict[int, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    separations: dict[int, int] = {}
    for said in (entry.said for entry in entries):
        if isinstance(said, Spent):
            shares[said.training][said.round] += said.share
            separations[said.training] = min(said.separation, separations.get(said.training, said.separation))
    if more is not None:
        training, added, separation = more
        for number, share in added.items():
            shares[training][number] += share
        separations[training] = min(separation, separations.get(training, separation))
    return math.fsum(costliest(rounds, separations[training]) for training, rounds in shares.items())


class Budget:
    """The account of a federation while this process holds it; :func:`open_budget` gives it.

    Args:
        file: held.
        database: remembers how far the account has come.
        key: the operator's, which signs what is added.
        clock: gives Unix seconds.
    """

    def __init__(
        self, file: BudgetFile, database: Database, key: Ed25519PrivateKey, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._database = database
        self._key = key
        self._clock = clock

    @property
    def balance(self) -> Balance:
        """What the account comes to."""
        return balance_of(self._file.entries)

    def check(self, training: int, multipliers: Mapping[int, float], separation: int, what: str) -> float:
        """Refuse rounds that the budget does not pay for, all of them together; return what the account would come to.

        Args:
            training: theirs.
            multipliers: the noise of each round over its longest update, by round number.
            separation: a device is in at most one of so many rounds that follow each other.
            what: names them in the error, such as "round 3 of training 2".

        Raises:
            BudgetSpent: the account would pass the limit.
        """
        balance = self.balance
        shares = {number: share_of(multiplier) for number, multiplier in multipliers.items()}
        then = balance.with_shares(training, shares, separation)
        if not then <= balance.limit:
            raise BudgetSpent(
                f"the privacy budget is spent: epsilon {balance.epsilon:.4g} of {balance.limit:g} "
                f"(delta {balance.delta:g}), and {what} would bring it to {then:.4g}"
            )
        return max(then, balance.epsilon)

    def spend(self, plan: Plan, training: int) -> None:
        """Write down what the sum of a plan costs. It is on the disk when this returns: the sum may be released.

        For a plan that was paid for before, nothing more is written.

        Raises:
            BudgetSpent: the account would pass the limit, or the plan has no noise; nothing was written.
            BudgetDamaged: another plan with this serial was paid for: serials went back; nothing was written.
            ConfigError: the plan counts by another delta.
            DiskFull: there is no room; the sum may not be released.
            OutputError: the account cannot be written; likewise.
        """
        if plan.noise_multiplier is None or plan.clip is None or not plan.noise:
            raise BudgetSpent(
                f"round {plan.round_number} has no noise, and no budget pays for that: nothing is released"
            )
        balance = self.balance
        if plan.delta != balance.delta:
            raise ConfigError(f"the plan counts by a delta of {plan.delta}, the account by {balance.delta:g}")
        for said in (entry.said for entry in balance.entries):
            if isinstance(said, Spent) and said.serial == plan.serial:
                self._check_same(said, plan)
                self._remember()
                return
        multiplier = float(plan.noise_multiplier)
        where = f"round {plan.round_number} of training {training}"
        epsilon = self.check(training, {plan.round_number: multiplier}, plan.separation, where)
        self._append(
            Spent(
                serial=plan.serial,
                plan=plan.hash(),
                training=training,
                round=plan.round_number,
                noise=plan.noise,
                multiplier=multiplier,
                clip=float(plan.clip),
                separation=plan.separation,
                epsilon=epsilon,
            )
        )

    def _check_same(self, said: Spent, plan: Plan) -> None:
        if said.plan != plan.hash():
            raise BudgetDamaged(
                f"{self._file.path}: another plan with the serial number {plan.serial} was paid for: the numbers in "
                "the state folder went back; put back the newest 'serial' and database, as docs/server.md says"
            )

    def set_limit(self, limit: float, reason: str) -> None:
        """Set another limit, for everyone to see; nothing that was spent is changed.

        Raises:
            ConfigError: it is no limit, the same as before, or there is no reason.
            DiskFull: there is no room.
        """
        self._append(Changed(self.balance.limit, float(limit), reason.strip()))

    def open_with(self, opened: Opened) -> None:
        """Write the first entry."""
        self._append(opened)

    def _append(self, said: Said) -> None:
        last = self._file.entries[-1] if self._file.entries else None
        entry = signed_entry(
            said,
            self._key,
            number=1 if last is None else last.number + 1,
            at=int(self._clock()),
            account=secrets.token_hex(16) if last is None else last.account,
            previous=FIRST if last is None else last.hash,
        )
        self._file.append(entry)
        self._remember()

    def _remember(self) -> None:
        remember(self._database, self.balance.mark)


@contextmanager
def open_budget(
    path: Path,
    database: Database,
    key: Ed25519PrivateKey,
    first: Callable[[], Opened],
    *,
    clock: Callable[[], float] = time.time,
    wait: float = 0.0,
) -> Iterator[Budget]:
    """Hold the budget of a federation as long as the context lasts; open it where there never was one.

    Args:
        path: the account.
        database: the server's.
        key: the operator's.
        first: gives the first entry, where there is none.
        clock: gives Unix seconds.
        wait: seconds to wait for another process that holds it.

    Raises:
        ServerRunning: another process holds it.
        BudgetDamaged: it is missing, or not what was written.
    """
    public = key.public_key().public_bytes_raw()
    with held_file(path, public, remembered(database), wait=wait) as file:
        budget = Budget(file, database, key, clock)
        if file.entries:
            budget._remember()
        else:
            budget.open_with(first())
        yield budget


def read_balance(path: Path, database: Database, operator: bytes) -> Balance | None:
    """Return what an account comes to, without holding it; None where there never was one.

    Raises:
        BudgetDamaged: it is missing, or not what was written.
    """
    marks = remembered(database)
    entries = read_file(path, operator, marks)
    return balance_of(entries) if entries else None
