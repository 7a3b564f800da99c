"""``fedpersona device consent`` and ``fedpersona device ledger``: the owner's answers, and what came of them."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from fedpersona.cli.opening import HOME, Folder, Json, address_of, note, opening, say
from fedpersona.errors import ConfigError

__all__ = ["consents", "ledgers"]

consents = typer.Typer(name="consent", help="Say yes or no, see what you said.", no_args_is_help=True)
ledgers = typer.Typer(name="ledger", help="See what left this device, and check that nobody changed it.")

Server = Annotated[str, typer.Option("--server", help="The server's address, or 'practice'.")]
Purpose = Annotated[str, typer.Argument(help="share_update, share_metrics or audit_canary.")]


@consents.command("show")
def consent_show(folder: Folder = HOME, as_json: Json = False) -> None:
    """Show what you said yes and no to."""
    with opening(folder) as opened:
        states = opened.consent.states()
    if as_json:
        sys.stdout.write(json.dumps([state.to_dict() for state in states]) + "\n")
    else:
        say("\n".join(str(state) for state in states) or "You were asked nothing yet, so nothing may leave.")


@consents.command("notice")
def consent_notice(purpose: Purpose) -> None:
    """Print the notice of a purpose: what you say yes to when you grant it."""
    from fedpersona.device.notice import notice

    say(notice(purpose).text)


@consents.command("grant")
def consent_grant(
    purpose: Purpose,
    server: Server,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it holds.")] = 365,
    yes: Annotated[bool, typer.Option("--yes", help="You have read the notice: do not ask.")] = False,
    folder: Folder = HOME,
) -> None:
    """Read the notice of one purpose, and say yes to it for one server."""
    from fedpersona.device.notice import notice

    text = notice(purpose).text
    with opening(folder) as opened:
        seen = opened.consent.epoch
        say(text)
        if sys.stdin.isatty() and not yes:
            typer.confirm(f"Do you say yes to this, for {address_of(server)}?", abort=True, err=True)
        opened.consent.grant(purpose, server=address_of(server), days=days, seen=seen)
        say(str(opened.consent.state(purpose, address_of(server))))


@consents.command("refuse")
def consent_refuse(purpose: Purpose, server: Server, folder: Folder = HOME) -> None:
    """Say no to one purpose, for one server."""
    with opening(folder) as opened:
        opened.consent.refuse(purpose, server=address_of(server))
        say(str(opened.consent.state(purpose, address_of(server))))


@consents.command("withdraw")
def consent_withdraw(purpose: Purpose, server: Server, folder: Folder = HOME) -> None:
    """Take a yes back, at once."""
    with opening(folder) as opened:
        opened.consent.withdraw(purpose, server=address_of(server))
        say(str(opened.consent.state(purpose, address_of(server))))


@ledgers.callback(invoke_without_command=True)
def ledger_show(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", min=1, help="How many of the last entries.")] = 20,
    folder: Folder = HOME,
    as_json: Json = False,
) -> None:
    """Show what left this device, what came, what was refused, and why."""
    if context.invoked_subcommand is not None:
        return
    from fedpersona.device.spending import Spent

    with opening(folder) as opened:
        tail = opened.ledger.tail(count)
        if as_json:
            sys.stdout.write(json.dumps(opened.ledger.export()[-count:]) + "\n")
            return
        say(str(tail))
        problem = opened.rolled_back
        spent = opened.ledger.spent()
    if problem is not None:
        note(problem)
    if spent != Spent():
        say(f"In all, at worst: {spent.words}, by this device's own account. {spent.meaning}")


@ledgers.command("acknowledge")
def ledger_acknowledge(
    yes: Annotated[bool, typer.Option("--yes", help="You know that an older copy was put back: do not ask.")] = False,
    folder: Folder = HOME,
) -> None:
    """Say that you know of an older copy of the vault that was put back, so that something may be sent again.

    What is known to have been spent since counts on. Where answers of yours are missing every yes ends: it may be one
    that you took back since.
    """
    with opening(folder) as opened:
        problem = opened.rolled_back
        if problem is None:
            say("No older copy was put back: nothing to acknowledge.")
            return
        if not (yes or sys.stdin.isatty()):
            raise ConfigError(f"{problem}: to go on with it say --yes where nobody can be asked")
        note(problem)
        if not yes:
            typer.confirm("Go on with this copy?", abort=True, err=True)
        say(str(opened.acknowledge()))


@ledgers.command("verify")
def ledger_verify(folder: Folder = HOME) -> None:
    """Check both chains, of the ledger and of your consents: a changed or removed entry shows, and an older copy."""
    with opening(folder) as opened:
        entries, records = opened.ledger.verify(), opened.consent.verify()
        opened.ledger.check_whole()
    say(f"whole: {entries:,} ledger entries and {records:,} consent records, each signed and in its place")
