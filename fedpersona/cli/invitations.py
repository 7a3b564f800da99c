"""Who may take part: invitations made and taken back, devices shut out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from fedpersona.cli.kept import Kept, as_table, as_time, kept_by, to_json
from fedpersona.cli.opening import Json, note, say
from fedpersona.cli.serve import Config
from fedpersona.errors import ConfigError

if TYPE_CHECKING:
    from fedpersona.aggregation.roster import IssuedToken

__all__ = ["enrol", "invitations", "revoke", "take_back"]


def enrol(
    config: Config = None,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="How many invitations.")] = 1,
    hours: Annotated[float, typer.Option("--hours", help="How long they are valid.")] = 72.0,
    words: Annotated[str, typer.Option("--note", help="For your own list: whom they are for.")] = "",
    public: Annotated[
        bool, typer.Option("--public", help="One for everyone: lets devices fetch the model, not take part.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make invitations; each lets one device enrol once."""
    with kept_by(config) as kept:
        if public:
            made = [_public(kept)]
        else:
            made = list(_invitations(kept, count, hours, words))
            kept.journal.event("enrol", f"{count} invitation{'' if count == 1 else 's'} for {hours:g} hours")
    if as_json:
        to_json({"invitations": made, "hours": None if public else hours})
        return
    for text in made:
        typer.echo(f"fedpersona device enrol {text}")
    if public:
        note("This line is for everyone, for ever: it holds no secret. With it a device fetches the model you serve.")
        return
    which = "Give this line to one person" if count == 1 else "Give each of these lines to one person"
    note(f"{which}, in private: it lets one device enrol, once, within {hours:g} hours.")


def _public(kept: Kept, token: str = "") -> str:
    from fedpersona.aggregation.certificates import authority_der
    from fedpersona.wire.invitation import Invitation

    server = kept.config.server
    operator = kept.signing_key().public_key().public_bytes_raw()
    authority = None if server.authority is None else authority_der(server.authority)
    return str(Invitation(server.address, kept.config.federation.name, operator, token, authority))


def _invitations(kept: Kept, count: int, hours: float, words: str) -> Iterator[str]:
    if len(words) > 200 or not words.isprintable():
        raise ConfigError("the note is a line of up to 200 characters")
    for _ in range(count):
        yield _public(kept, kept.roster.issue_token(hours, words))


def invitations(config: Config = None, as_json: Json = False) -> None:
    """List the invitations that were made: what they were for and what became of them, never their text."""
    now = datetime.now(UTC).timestamp()
    with kept_by(config) as kept:
        found = [asdict(one) | {"state": _state(one, now)} for one in kept.roster.tokens()]
    if as_json:
        to_json(found)
        return
    as_table(
        ("Invitation", "For", "Made", "Valid until", ""),
        (
            (one["number"], one["note"], as_time(one["issued_at"]), as_time(one["expires_at"]), one["state"])
            for one in found
        ),
        "No invitation was made yet: make one with 'fedpersona server enrol'.",
    )


def _state(token: IssuedToken, now: float) -> str:
    if token.used_by is not None:
        return f"used by device {token.used_by}"
    if token.taken_back_at is not None:
        return "taken back"
    return "open" if token.expires_at > now else "expired"


def take_back(
    number: Annotated[int, typer.Argument(min=1, max=1 << 53, help="As 'invitations' lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take back an invitation that nobody has used yet."""
    with kept_by(config) as kept:
        kept.roster.take_back_token(number)
        kept.journal.event("take-back", f"invitation {number}")
    if as_json:
        to_json({"taken_back": number})
    else:
        say(f"Invitation {number} is taken back: nobody can enrol with it.")


def revoke(
    number: Annotated[int, typer.Argument(max=1 << 53, help="The device's number, as 'devices' lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Shut a device out, at once and for good."""
    with kept_by(config) as kept:
        known = kept.roster.device(number)
        again = known is not None and known.revoked_at is not None
        device = kept.roster.revoke(number)
        if not again:
            kept.journal.event("revoke", f"device {number}")
    if as_json:
        to_json({"number": number, "revoked_at": device.revoked_at, "again": again})
    elif again:
        say(f"Device {number} was revoked already, on {as_time(device.revoked_at)}.")
    else:
        say(
            f"Device {number} is revoked: from now on its messages are refused, also in a round that runs. "
            "Sums that it was part of before cannot be taken apart and stay."
        )
