"""``fedpersona server``: what an operator sees and does, whether the server runs or not."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from fedpersona.cli.budget import budget, budget_of
from fedpersona.cli.invitations import enrol, invitations, revoke, take_back
from fedpersona.cli.kept import Kept, as_pairs, as_table, as_time, kept_by, to_json
from fedpersona.cli.opening import Json, say
from fedpersona.cli.serve import Config

__all__ = ["server"]

server = typer.Typer(
    name="server",
    help="See what a server does, invite devices and shut them out, choose the model that is served.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many at most, the newest first.")]


@server.command()
def status(config: Config = None, as_json: Json = False) -> None:
    """Tell what the server is doing."""
    with kept_by(config) as kept:
        facts = _facts(kept)
    if as_json:
        to_json(facts)
        return
    training, served = facts["training"], facts["promoted"]
    rows = [
        ("Federation", facts["federation"]),
        ("Address", facts["address"]),
        ("Server", "runs" if facts["running"] else "does not run: start it with 'fedpersona serve'"),
        (
            "Doing",
            f"{facts['state']} since {as_time(facts['since'])}" + (f": {facts['words']}" if facts["words"] else ""),
        ),
        ("Devices", f"{facts['devices']:,} enrolled, {facts['revoked']:,} revoked, {facts['invitations']:,} invited"),
        ("Training", f"{training['id']}, round {training['round']} done" if training else "none runs"),
        *_budget_row(facts["budget"]),
        ("Served model", f"version {served['version']}, of {served['devices']:,} devices" if served else "none yet"),
        ("State", facts["folder"]),
    ]
    as_pairs(rows)


def _budget_row(found: dict[str, float] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    return [
        ("Privacy", f"epsilon {found['spent']:g} of {found['limit']:g} spent: see 'fedpersona server budget show'"),
    ]


def _facts(kept: Kept) -> dict[str, Any]:
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
        "budget": _budget(kept),
        "folder": str(kept.config.server.state),
    }


def _budget(kept: Kept) -> dict[str, float] | None:
    from fedpersona.aggregation.budget_words import rounded_up

    balance = budget_of(kept)
    return (
        None
        if balance is None
        else {"spent": rounded_up(balance.epsilon), "limit": balance.limit, "delta": balance.delta}
    )


@server.command()
def rounds(config: Config = None, limit: Limit = 20, as_json: Json = False) -> None:
    """List the last rounds, the newest first."""
    with kept_by(config) as kept:
        found = kept.journal.rounds(limit)
    if as_json:
        to_json([asdict(one) for one in found])
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
    as_table(
        columns,
        (
            (
                as_time(one.began_at),
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
    with kept_by(config) as kept:
        found, served = kept.registry.versions(), kept.registry.promoted()
    promoted = None if served is None else served.number
    if as_json:
        to_json([asdict(one) | {"promoted": one.number == promoted} for one in found])
        return
    as_table(
        ("Version", "Made", "Model", "Rounds", "Devices", "Training", "Hash", ""),
        (
            (
                one.number,
                as_time(one.registered_at),
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
    with kept_by(config) as kept:
        found = [
            {"number": one.number, "enrolled_at": one.enrolled_at, "revoked_at": one.revoked_at}
            for one in kept.roster.devices()
        ]
    if as_json:
        to_json(found)
        return
    as_table(
        ("Device", "Enrolled", "Revoked"),
        ((one["number"], as_time(one["enrolled_at"]), as_time(one["revoked_at"])) for one in found),
        "No device has enrolled yet: invite one with 'fedpersona server enrol'.",
    )


server.add_typer(budget)
server.command()(enrol)
server.command()(invitations)
server.command("take-back")(take_back)
server.command()(revoke)


@server.command()
def promote(
    version: Annotated[int, typer.Argument(max=1 << 53, help="The model's version, as 'models' lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sign a version and serve it to all devices."""
    with kept_by(config) as kept:
        kept.registry.promote(version, kept.signing_key(), kept.config.federation.name)
        kept.journal.event("promote", f"version {version}")
    _served(version, as_json)


@server.command("roll-back")
def roll_back(config: Config = None, as_json: Json = False) -> None:
    """Serve the version again that was served before this one."""
    with kept_by(config) as kept:
        version = kept.registry.roll_back(kept.signing_key(), kept.config.federation.name)
        kept.journal.event("roll-back", f"to version {version}")
    _served(version, as_json)


def _served(version: int, as_json: bool) -> None:
    if as_json:
        to_json({"promoted": version})
    else:
        say(f"Version {version} is served now.")


@server.command()
def prune(
    config: Config = None,
    keep: Annotated[int, typer.Option("--keep", min=0, help="How many of the newest versions stay.")] = 5,
    as_json: Json = False,
) -> None:
    """Delete old models; what is served and what a roll-back needs stays."""
    with kept_by(config) as kept:
        gone = kept.registry.prune(keep)
        if gone:
            kept.journal.event("prune", f"versions {', '.join(map(str, gone))}")
    if as_json:
        to_json({"pruned": gone})
    else:
        say(f"Deleted: {', '.join(map(str, gone))}." if gone else "Nothing was there to delete.")
