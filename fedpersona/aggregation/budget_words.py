"""What a budget's account says to people: on the public page, on the operator's, and on the command line."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedpersona.aggregation.budget import Balance, balance_of
from fedpersona.aggregation.budget_entries import Spent
from fedpersona.aggregation.budget_file import Mark, read_file
from fedpersona.aggregation.budget_witness import remembered
from fedpersona.aggregation.certificates import operator_public
from fedpersona.aggregation.config import PrivacyConfig, ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.pages import counted, day
from fedpersona.errors import DataError, OutputError, ServerError
from fedpersona.privacy.gaussian import gaussian_mu
from fedpersona.privacy.wording import sentence

__all__ = ["budget_facts", "public_facts", "rounded_up", "seen_balance"]

_NOTHING = 0.01  # of the limit: less than this that is left is called nothing

_WHO = {
    "central": "The server adds noise to the sum of a round before anything is made of it. It sees the sum without "
    "noise itself; nobody else does.",
    "distributed": "Every device adds its share of the noise before its list is masked, so that the server opens no "
    "sum without noise. The shares of the fewest devices of a sum make the whole.",
}
_SEEN = {
    "central": "everything that is released",
    "distributed": "everything that is released and every sum that the server opens",
}


def seen_balance(config: ServerConfig, database: Database) -> Balance | None:
    """Return what the account of a server comes to, without holding it; None where none was opened.

    Raises:
        BudgetDamaged: it is missing, or not what was written.
        DataError: the operator's key cannot be read.
    """
    marks = tuple(remembered(database))
    try:
        found = config.budget.stat()
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError:
        mark = (0, 0, 0)
    return _seen(config.budget, config.server.signing_key, mark, marks)


@lru_cache(maxsize=4)
def _seen(path: Path, key: Path, mark: tuple[int, int, int], marks: tuple[Mark, ...]) -> Balance | None:
    """Read and check all signatures, once for each state of the file: anyone may ask for the page."""
    entries = read_file(path, operator_public(key), marks)
    return balance_of(entries) if entries else None


def public_facts(config: ServerConfig, database: Database) -> dict[str, Any] | None:
    """Return what the public page tells of the budget; None where sums have no noise.

    An account that cannot be read is told of as such: no round is held by it.
    """
    if config.privacy is None:
        return None
    try:
        balance = seen_balance(config, database)
    except (ServerError, DataError, OutputError):
        return {
            "state": "damaged",
            "noise": config.privacy.noise,
            "noise_in_words": _WHO[config.privacy.noise],
            "in_words": "The account of what was spent cannot be read as it was written. No round is held until "
            "whoever runs this has put it right.",
        }
    if balance is None:
        return {
            "state": "unopened",
            "noise": config.privacy.noise,
            "noise_in_words": _WHO[config.privacy.noise],
            "in_words": "The account of what is spent is opened when the server first starts.",
        }
    return budget_facts(balance, config.privacy)


def budget_facts(balance: Balance, privacy: PrivacyConfig) -> dict[str, Any]:
    """Return an account in numbers and in sentences."""
    seen = _SEEN[privacy.noise]
    limit, delta = balance.limit, balance.delta
    spent = rounded_up(balance.epsilon)
    return {
        "state": "spent" if _empty(balance) else "open",
        "unit": "person",
        "limit": limit,
        "delta": delta,
        "spent": spent,
        "left": math.floor(balance.left * 1000) / 1000,
        "releases": balance.releases,
        "clip": _last_clip(balance),
        "earlier": balance.opened.earlier,
        "noise": privacy.noise,
        "separation": privacy.separation,
        "since": day(balance.entries[0].at),
        "noise_in_words": _WHO[privacy.noise],
        "in_words": f"All that this federation ever releases may cost a person an epsilon of {limit:g} in all, at a "
        f"delta of {delta:g}. {sentence(limit, delta, gaussian_mu(limit, delta), seen=seen)}",
        "spent_in_words": _spent_in_words(balance, spent, seen),
        "left_in_words": _left_in_words(balance),
        "changes": [
            {
                "date": datetime.fromtimestamp(entry.at, UTC).date().isoformat(),
                "day": day(entry.at),
                "before": said.before,
                "limit": said.limit,
                "reason": said.reason,
                "in_words": f"{'Raised' if said.limit > said.before else 'Lowered'} from {said.before:g} to "
                f"{said.limit:g}. The reason given: {said.reason.rstrip('.')}.",
            }
            for entry, said in balance.changes
        ],
    }


def rounded_up(epsilon: float) -> float:
    """Return an ε with three digits after the point, never less than it is."""
    return math.ceil(epsilon * 1000) / 1000


def _last_clip(balance: Balance) -> float | None:
    """Return the longest update of the last sum; None before the first."""
    return next((entry.said.clip for entry in reversed(balance.entries) if isinstance(entry.said, Spent)), None)


def _empty(balance: Balance) -> bool:
    return balance.left < _NOTHING * balance.limit


def _spent_in_words(balance: Balance, spent: float, seen: str) -> str:
    earlier = (
        f" Before that {counted(balance.opened.earlier, 'sum')} had been released without noise; the account does not "
        "cover what they told."
        if balance.opened.earlier
        else ""
    )
    if not balance.releases:
        return f"Nothing was released yet since the account was opened.{earlier}"
    told = sentence(balance.epsilon, balance.delta, math.sqrt(balance.square), seen=seen)
    return (
        f"{counted(balance.releases, 'sum')} so far, which cost a person an epsilon of {spent:g} at most. "
        f"{told}{earlier}"
    )


def _left_in_words(balance: Balance) -> str:
    if _empty(balance):
        return (
            "Nothing that a training could begin with. No device is asked any more, unless whoever runs this raises "
            "the limit, which would show here."
        )
    left = math.floor(balance.left * 1000) / 1000
    if not balance.releases:
        return "All of it."
    return (
        f"Enough for a training of epsilon {left:g}. That is more than the difference: two trainings together cost "
        "less than the sum of what each costs."
    )
