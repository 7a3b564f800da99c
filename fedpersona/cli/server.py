"""``fedpersona server``: what an operator sees and does, whether the server runs or not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpersona.cli.opening import Json, note, plain, say
from fedpersona.cli.serve import Config, found_config
from fedpersona.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.database import Database
    from fedpersona.aggregation.journal import Journal
    from fedpersona.aggregation.registry import Registry
    from fedpersona.aggregation.roster import Roster
    from fedpersona.aggregation.trainings import Trainings

__all__ = ["server"]

server = typer.Typer(
    name="server",
    help="See what a server does, invite devices and shut them out, choose the model that is served.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most, the newest first.")]


@dataclass(frozen=True)
class _Kept:
    """What a server keeps, each part opened when it is asked for."""

    config: ServerConfig
    database: Database

    @cached_property
    def roster(self) -> Roster:
        from fedpersona.aggregation.roster import Roster

        return Roster(self.database)

    @cached_property
    def journal(self) -> Journal:
        from fedpersona.aggregation.journal import Journal

        return Journal(self.database)

    @cached_property
    def registry(self) -> Registry:
        from fedpersona.aggregation.registry import Registry

        return Registry(self.database, self.config.models)

    @cached_property
    def trainings(self) -> Trainings:
        from fedpersona.aggregation.trainings import Trainings

        return Trainings(self.database, self.config.models)

    def signing_key(self) -> Ed25519PrivateKey:
        from fedpersona.aggregation.certificates import signing_key

        return signing_key(self.config.server.signing_key)


@contextmanager
def _kept(path: Path | None) -> Iterator[_Kept]:
    from fedpersona.aggregation.database import Database

    config = found_config(path)
    with Database.open(config.database) as database:
        yield _Kept(config, database)


@server.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """Tell what the server is doing."""
    with _kept(config) as kept:
        facts = _facts(kept)
    if as_json:
        _json(facts)
        return
    training, served = facts["training"], facts["promoted"]
    rows = [
        ("Federation", facts["federation"]),
        ("Address", facts["address"]),
        ("Server", "runs" if facts["running"] else "does not run: start it with 'fedpersona serve'"),
        (
            "Doing",
            f"{facts['state']} since {_time(facts['since'])}" + (f": {facts['words']}" if facts["words"] else ""),
        ),
        ("Devices", f"{facts['devices']:,} enrolled, {facts['revoked']:,} revoked, {facts['invitations']:,} invited"),
        ("Training", f"{training['id']}, round {training['round']} done" if training else "none runs"),
        ("Served model", f"version {served['version']}, of {served['devices']:,} devices" if served else "none yet"),
        ("State", facts["folder"]),
    ]
    _pairs(rows)


def _facts(kept: _Kept) -> dict[str, Any]:
    from fedpersona.aggregation.state_lock import is_held

    condition, training, served = kept.journal.state(), kept.trainings.current(), kept.registry.promoted()
    devices = kept.roster.devices()
    now = datetime.now(UTC).timestamp()
    revoked = sum(device.revoked_at is not None for device in devices)
    return {
        "federation": kept.config.federation.name,
        "address": kept.config.server.address,
        "running": is_held(kept.config.server.state),
        "state": condition.state,
        "words": condition.words,
        "since": condition.since,
        "devices": len(devices) - revoked,
        "revoked": revoked,
        "invitations": sum(
            token.used_by is None and token.taken_back_at is None and token.expires_at > now
            for token in kept.roster.tokens()
        ),
        "training": None if training is None else {"id": training.id, "round": training.round_number or 0},
        "promoted": None if served is None else {"version": served.number, "devices": served.devices},
        "folder": str(kept.config.server.state),
    }


@server.command()
def rounds(config: Config = None, limit: Limit = 20, as_json: Json = False) -> None:
    """List the last rounds, the newest first."""
    with _kept(config) as kept:
        found = kept.journal.rounds(limit)
    if as_json:
        _json([asdict(one) for one in found])
        return
    columns = (
        "Began",
        "Training",
        "Round",
        "Attempt",
        "Outcome",
        "Asked",
        "In the sum",
        "Refused",
        "Left",
        "Late",
        "s",
    )
    _table(
        columns,
        (
            (
                _time(one.began_at),
                one.training,
                one.round_number,
                one.attempt,
                one.outcome or f"in '{one.phase}'",
                one.invited,
                one.answered,
                ", ".join(f"{count} {reason}" for reason, count in one.refused.items()) or "0",
                one.dropped,
                one.late,
                f"{sum(one.seconds.values()):.1f}",
            )
            for one in found
        ),
        "No round has begun yet.",
    )


@server.command()
def models(config: Config = None, as_json: Json = False) -> None:
    """List the models, the newest first, and which of them is served."""
    with _kept(config) as kept:
        found, served = kept.registry.versions(), kept.registry.promoted()
    promoted = None if served is None else served.number
    if as_json:
        _json([asdict(one) | {"promoted": one.number == promoted} for one in found])
        return
    _table(
        ("Version", "Made", "Model", "Rounds", "Devices", "Training", "Hash", ""),
        (
            (
                one.number,
                _time(one.registered_at),
                one.model,
                one.round_number,
                one.devices,
                one.training,
                one.hash[:12],
                "served" if one.number == promoted else "pruned" if one.pruned_at else "",
            )
            for one in found
        ),
        "No model has been learned yet.",
    )


@server.command()
def devices(config: Config = None, as_json: Json = False) -> None:
    """List the enrolled devices: numbers and dates, nothing else is known of them."""
    with _kept(config) as kept:
        found = [
            {"number": one.number, "enrolled_at": one.enrolled_at, "revoked_at": one.revoked_at}
            for one in kept.roster.devices()
        ]
    if as_json:
        _json(found)
        return
    _table(
        ("Device", "Enrolled", "Revoked"),
        ((one["number"], _time(one["enrolled_at"]), _time(one["revoked_at"])) for one in found),
        "No device has enrolled yet: invite one with 'fedpersona server enrol'.",
    )


@server.command()
def enrol(
    config: Config = None,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="How many invitations.")] = 1,
    hours: Annotated[float, typer.Option("--hours", help="How long they are valid.")] = 72.0,
    words: Annotated[str, typer.Option("--note", help="For your own list: whom they are for.")] = "",
    as_json: Json = False,
) -> None:
    """Make invitations; each lets one device enrol once."""
    with _kept(config) as kept:
        made = list(_invitations(kept, count, hours, words))
        kept.journal.event("enrol", f"{count} invitation{'' if count == 1 else 's'} for {hours:g} hours")
    if as_json:
        _json({"invitations": made, "hours": hours})
        return
    for text in made:
        typer.echo(f"fedpersona device enrol {text}")
    which = "Give this line to one person" if count == 1 else "Give each of these lines to one person"
    note(f"{which}, in private: it lets one device enrol, once, within {hours:g} hours.")


def _invitations(kept: _Kept, count: int, hours: float, words: str) -> Iterator[str]:
    from fedpersona.aggregation.certificates import authority_der
    from fedpersona.wire.invitation import Invitation

    if len(words) > 200 or not words.isprintable():
        raise ConfigError("the note is a line of up to 200 characters")
    server = kept.config.server
    operator = kept.signing_key().public_key().public_bytes_raw()
    authority = None if server.authority is None else authority_der(server.authority)
    for _ in range(count):
        token = kept.roster.issue_token(hours, words)
        yield str(Invitation(server.address, kept.config.federation.name, operator, token, authority))


@server.command()
def revoke(
    number: Annotated[int, typer.Argument(max=1 << 53, help="The device's number, as 'devices' lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Shut a device out, at once and for good."""
    with _kept(config) as kept:
        known = kept.roster.device(number)
        again = known is not None and known.revoked_at is not None
        device = kept.roster.revoke(number)
        if not again:
            kept.journal.event("revoke", f"device {number}")
    if as_json:
        _json({"number": number, "revoked_at": device.revoked_at, "again": again})
    elif again:
        say(f"Device {number} was revoked already, on {_time(device.revoked_at)}.")
    else:
        say(
            f"Device {number} is revoked: from now on its messages are refused, also in a round that runs. "
            "Sums that it was part of before cannot be taken apart and stay."
        )


@server.command()
def promote(
    version: Annotated[int, typer.Argument(max=1 << 53, help="The model's version, as 'models' lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sign a version and serve it to all devices."""
    with _kept(config) as kept:
        kept.registry.promote(version, kept.signing_key(), kept.config.federation.name)
        kept.journal.event("promote", f"version {version}")
    _served(version, as_json)


@server.command("roll-back")
def roll_back(config: Config = None, as_json: Json = False) -> None:
    """Serve the version again that was served before this one."""
    with _kept(config) as kept:
        version = kept.registry.roll_back(kept.signing_key(), kept.config.federation.name)
        kept.journal.event("roll-back", f"to version {version}")
    _served(version, as_json)


def _served(version: int, as_json: bool) -> None:
    if as_json:
        _json({"promoted": version})
    else:
        say(f"Version {version} is served now.")


@server.command()
def prune(
    config: Config = None,
    keep: Annotated[int, typer.Option("--keep", min=0, help="How many of the newest versions stay.")] = 5,
    as_json: Json = False,
) -> None:
    """Delete old models; what is served and what a roll-back needs stays."""
    with _kept(config) as kept:
        gone = kept.registry.prune(keep)
        if gone:
            kept.journal.event("prune", f"versions {', '.join(map(str, gone))}")
    if as_json:
        _json({"pruned": gone})
    else:
        say(f"Deleted: {', '.join(map(str, gone))}." if gone else "Nothing was there to delete.")


def _json(found: Any) -> None:
    typer.echo(json.dumps(found, ensure_ascii=False))


def _console() -> Console:
    return Console(width=130 if not sys.stdout.isatty() else None)


def _pairs(rows: Sequence[tuple[str, str]]) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, plain(value))
    _console().print(table)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    table = Table(box=None, header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(str(value)) for value in row))
    if table.row_count:
        _console().print(table)
    else:
        say(empty)


def _time(at: int | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
