"""``fedpersona device policy``: the owner's floors in words, and changed with open eyes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedpersona.cli.opening import HOME, Folder, Json, note, opening, say
from fedpersona.errors import ConfigError, VaultDamaged

if TYPE_CHECKING:
    from fedpersona.device.device import Device
    from fedpersona.device.policy import Policy

__all__ = ["policies"]

policies = typer.Typer(name="policy", help="See and change what your device demands of every round.")

Yes = Annotated[bool, typer.Option("--yes", help="You know what a lower floor means: do not ask.")]


@policies.callback(invoke_without_command=True)
def policy_show(context: typer.Context, folder: Folder = HOME, as_json: Json = False) -> None:
    """Show your floors: what your device demands of every round, whatever a server asks."""
    if context.invoked_subcommand is not None:
        return
    with opening(folder) as opened:
        policy = opened.policy
    if as_json:
        sys.stdout.write(policy.model_dump_json() + "\n")
        return
    say(_told(policy))


def _told(policy: Policy) -> str:
    from fedpersona.device.floors import sentences, written

    values = written(policy)
    return "\n".join(f"{words}  [{name}={values[name]}]" for name, words in sentences(policy))


@policies.command("set")
def policy_set(
    wishes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="Such as least_cohort=100.")],
    yes: Yes = False,
    folder: Folder = HOME,
) -> None:
    """Change some floors. Where one is lowered it says what that means, and asks.

    The names and their values are those that 'fedpersona device policy' shows in brackets.
    """
    from fedpersona.device.floors import changed

    with opening(folder) as opened:
        before = opened.policy
        _change(opened, before, changed(before, _wished(wishes)), yes=yes)


def _wished(wishes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for wish in wishes:
        name, equals, value = wish.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError(f"'{wish[:40]}' sets nothing: write it as NAME=VALUE, such as least_cohort=100")
        if name in found:
            raise ConfigError(f"{name[:80]} is named twice: say once what it should be")
        found[name] = value
    return found


@policies.command("reset")
def policy_reset(yes: Yes = False, folder: Folder = HOME) -> None:
    """Put every floor back to what it was when the device was made."""
    from fedpersona.device.policy import Policy

    with opening(folder) as opened:
        try:
            before: Policy | None = opened.policy
        except VaultDamaged:
            before = None
        _change(opened, before, Policy(), yes=yes)


def _change(opened: Device, before: Policy | None, after: Policy, *, yes: bool) -> None:
    """Set the floors, once the owner knows which are lowered. ``before`` is None where it cannot be read any more."""
    from fedpersona.device.floors import lowered

    if before == after:
        say("Your floors are so already: nothing was changed.")
        return
    meant = (
        {"policy": "the floors you had cannot be read any more, and some of them may have been higher"}
        if before is None
        else lowered(before, after)
    )
    if meant and not yes:
        _ask(meant)
    opened.policy = after
    for name, words in meant.items() if yes else ():
        note(f"{name}: {words}")
    say(_told(after))


def _ask(meant: dict[str, str]) -> None:
    if not sys.stdin.isatty():
        told = "; ".join(f"{name}: {words}" for name, words in meant.items())
        raise ConfigError(f"this lowers a floor ({told}): say --yes where nobody can be asked")
    for name, words in meant.items():
        note(f"{name}: {words}")
    typer.confirm("Lower it?" if len(meant) == 1 else "Lower them?", abort=True, err=True)
