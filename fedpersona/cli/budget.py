"""``fedpersona server budget``: what the federation has cost a person so far, and the operator's limit for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedpersona.cli.kept import Kept, as_pairs, as_table, as_time, kept_by, to_json
from fedpersona.cli.opening import Json, note, say
from fedpersona.cli.serve import Config
from fedpersona.errors import ConfigError

if TYPE_CHECKING:
    from fedpersona.aggregation.budget import Balance

__all__ = ["budget", "budget_of"]

budget = typer.Typer(
    name="budget",
    help="See what the privacy budget has been spent on, and change its limit, for everyone to see.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Limit = Annotated[float, typer.Option("--epsilon", help="The new limit, over the whole life of the federation.")]
Reason = Annotated[str, typer.Option("--reason", help="Why: one line that everyone can read.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def budget_of(kept: Kept) -> Balance | None:
    """Return what the account of a server comes to; None where it keeps none, or has not opened it yet.

    Raises:
        BudgetDamaged: it is missing, or not what was written.
    """
    from fedpersona.aggregation.budget_words import seen_balance

    return None if kept.config.privacy is None else seen_balance(kept.config, kept.database)


@budget.command()
def show(config: Config = None, as_json: Json = False) -> None:
    """Check every entry of the account and its signature, and show what it comes to."""
    with kept_by(config) as kept:
        balance = budget_of(kept)
        privacy = kept.config.privacy
        if balance is None or privacy is None:
            _none(kept, as_json)
            return
        from fedpersona.aggregation.budget_words import budget_facts, rounded_up

        facts = budget_facts(balance, privacy) | {"file": str(kept.config.budget)}
        entries = [_row(entry.number, entry.at, entry.said) for entry in balance.entries]
    if as_json:
        to_json(facts | {"entries": entries})
        return
    as_pairs(
        [
            ("Limit", f"epsilon {facts['limit']:g} at delta {facts['delta']:g}, over the life of the federation"),
            ("Spent", f"epsilon {facts['spent']:g}, for {_counted(facts['releases'], 'sum', 'sums')}"),
            ("Left", facts["left_in_words"]),
            ("Noise", facts["noise_in_words"]),
            ("In words", facts["spent_in_words"] if facts["releases"] else facts["in_words"]),
            ("Account", f"{facts['file']}: {_counted(len(entries), 'entry', 'entries')}, all signed and in order"),
        ]
    )
    as_table(
        ("Entry", "Written", "", "Training", "Round", "Noise/clip", "Epsilon so far"),
        (
            (
                one["number"],
                as_time(one["at"]),
                {"opened": "opened", "spent": "sum", "limit": "limit"}[one["kind"]],
                one.get("training", ""),
                one.get("round", ""),
                f"{one['multiplier']:.4g}" if "multiplier" in one else "",
                f"{rounded_up(one['epsilon']):g}" if "epsilon" in one else f"of {one['limit']:g}",
            )
            for one in entries
        ),
        "",
    )


def _counted(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _row(number: int, at: int, said: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {"number": number, "at": at, "kind": said.kind, **asdict(said)}


def _none(kept: Kept, as_json: bool) -> None:
    if as_json:
        to_json(None)
    elif kept.config.privacy is None:
        say(f"{kept.config.file} has no section [privacy]: no noise is added, and no budget is kept.")
    else:
        say("The account is opened when the server first starts: nothing was spent.")


@budget.command("raise")
def raise_limit(epsilon: Limit, reason: Reason, yes: Yes = False, config: Config = None, as_json: Json = False) -> None:
    """Raise the limit. It is signed, stays in the account, and is shown on the public page with its reason."""
    with kept_by(config) as kept:
        now = _limit(kept)
        if not epsilon > now:
            raise ConfigError(f"the limit is {now:g}: {epsilon:g} would not raise it; 'budget lower' lowers it")
        _agreed(
            f"Everyone who takes part was told a limit of {now:g}. This raises it to {epsilon:g}, and the public page "
            f"will say so: {reason.strip()}",
            yes,
        )
        before, after = _set(kept, epsilon, reason)
    _told(before, after, as_json)


@budget.command("lower")
def lower_limit(epsilon: Limit, reason: Reason, yes: Yes = False, config: Config = None, as_json: Json = False) -> None:
    """Lower the limit, also below what was spent: then no further round is held. It is shown like a raise."""
    with kept_by(config) as kept:
        now = _limit(kept)
        if not epsilon < now:
            raise ConfigError(f"the limit is {now:g}: {epsilon:g} would not lower it; 'budget raise' raises it")
        _agreed(
            f"This lowers the limit from {now:g} to {epsilon:g}. The public page will say so: {reason.strip()}", yes
        )
        before, after = _set(kept, epsilon, reason)
        asked = kept.config.privacy.epsilon if kept.config.privacy is not None else 0.0
    if asked > after and not as_json:
        note(f"server.toml asks for {asked:g}: write {after:g} there, or the server will not start.")
    _told(before, after, as_json)


def _limit(kept: Kept) -> float:
    if kept.config.privacy is None:
        raise ConfigError(f"{kept.config.file} has no section [privacy]: there is no budget to change")
    balance = budget_of(kept)
    return kept.config.privacy.epsilon if balance is None else balance.limit


def _agreed(words: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("this changes what people were told: say --yes where nobody can be asked")
    note(words)
    typer.confirm("Change it?", abort=True, err=True)


def _set(kept: Kept, epsilon: float, reason: str) -> tuple[float, float]:
    """Write the new limit; return the one before and the new one."""
    with _held(kept) as held:
        before = held.balance.limit
        held.set_limit(epsilon, reason)
    kept.journal.event("budget", f"limit changed from {before:g} to {epsilon:g}: {reason.strip()}")
    if kept.journal.state().state == "spent":
        kept.journal.say("idle", f"the limit of the privacy budget is {epsilon:g} now")
    return before, epsilon


@contextmanager
def _held(kept: Kept) -> Iterator[Any]:
    from fedpersona.aggregation.spending import held_budget

    with held_budget(kept.config, kept.database, kept.signing_key()) as held:
        yield held


def _told(before: float, after: float, as_json: bool) -> None:
    if as_json:
        to_json({"before": before, "limit": after})
    else:
        say(f"The limit is {after:g} now; it was {before:g}. The account and the public page say so.")
