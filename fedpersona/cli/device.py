"""``fedpersona device``: everything a person can do with what their own device keeps."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpersona.errors import ConfigError, DataNotFound, DeviceError, KeyUnavailable

if TYPE_CHECKING:
    from fedpersona.device.device import Device
    from fedpersona.device.vault import Added
    from fedpersona.sources import Summary

__all__ = ["device"]

device = typer.Typer(
    name="device",
    help="Keep your listening history here, make playlists from it, and say what may leave.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
consents = typer.Typer(name="consent", help="Say yes or no, see what you said.", no_args_is_help=True)
ledgers = typer.Typer(name="ledger", help="See what left this device, and check that nobody changed it.")
device.add_typer(consents)
device.add_typer(ledgers)


def _named(folder: Path) -> Path:
    from fedpersona.device.folder import named_folder

    return named_folder(folder)


Folder = Annotated[
    Path,
    typer.Option(
        "--folder",
        envvar="FEDPERSONA_FOLDER",
        help="Where everything is kept.",
        show_default=True,
        callback=_named,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Server = Annotated[str, typer.Option("--server", help="The server's address, or 'practice'.")]
Purpose = Annotated[str, typer.Argument(help="share_update, share_metrics or audit_canary.")]

_HOME = Path("~/.fedpersona")
_MOST_NAMES = 10


@contextmanager
def _opened(folder: Path, *, make: bool = False) -> Iterator[Device]:
    from fedpersona.device.device import Device

    if not make and not _is_here(folder):
        raise _no_device(folder)
    asks = sys.stdin.isatty() and not os.environ.get("FEDPERSONA_PASSPHRASE")
    with Device.open(folder, passphrase=_ask if asks else None) as opened:
        yield opened


def _is_here(folder: Path) -> bool:
    """Tell whether there is something to open, or something to say about why it cannot be opened."""
    from fedpersona.device.folder import DATABASE, KEY_FILE

    database = folder / DATABASE
    return (folder / KEY_FILE).exists() or (database.exists() and database.stat().st_size > 0)


def _no_device(folder: Path) -> DataNotFound:
    return DataNotFound("no device is here yet: begin with 'fedpersona device init'", path=folder)


def _ask() -> str:
    return str(typer.prompt("Passphrase", hide_input=True, err=True))


def _say(words: str) -> None:
    Console(soft_wrap=True).print(words, markup=False, highlight=False)


def _notice(words: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"Note: {words}", markup=False, highlight=False, style="yellow")


def _address(server: str) -> str:
    from fedpersona.simulation.practice import PRACTICE

    return PRACTICE if server == "practice" else server


@device.command()
def init(folder: Folder = _HOME) -> None:
    """Make the encrypted folder, and say how its key is kept."""
    with _opened(folder, make=True) as opened:
        for words in opened.notices:
            _notice(words)
        _say(f"{opened.folder}: ready. Next: fedpersona device import my_spotify_data.zip")


@device.command("import")
def import_history(
    path: Annotated[Path, typer.Argument(help="A file, a folder or a zip that a music service gave you.")],
    folder: Folder = _HOME,
    as_json: Json = False,
) -> None:
    """Read a listening history into the vault. What is there already counts once.

    Reads Spotify (both exports), Last.fm, ListenBrainz, Apple Music, YouTube Music and .scrobbler.log files.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from fedpersona import sources

    reading = sources.read(path)
    listens = iter(reading)
    first = [next(listens, None)]  # what is no history shows before a device is made for it
    new = not (folder / "key.json").exists()
    with (
        _opened(folder, make=True) as opened,
        Progress(
            TextColumn("reading"), BarColumn(), DownloadColumn(), console=Console(stderr=True), transient=True
        ) as progress,
    ):
        for words in opened.notices if new else ():
            _notice(words)
        task = progress.add_task("reading", total=reading.bytes_total)

        def advancing() -> Iterator[Any]:
            for number, listen in enumerate(chain(first, listens)):
                if number % 2000 == 0:
                    progress.update(task, completed=reading.bytes_read)
                if listen is not None:
                    yield listen

        added = opened.vault.add(advancing())
        opened.ledger.imported(what=f"{added.new:,} new listens, by the owner")
        matched = opened.vault.matched(opened.catalogue)
        days = opened.vault.retention_days
    _print_import(reading.summary, added, matched, as_json=as_json)
    if added.expired:
        _notice(
            f"{added.expired:,} listens are older than {days:,} days, so they were not kept; to keep more, say "
            "'fedpersona device keep DAYS' and import again"
        )


def _print_import(summary: Summary, added: Added, matched: Any, *, as_json: bool) -> None:
    if as_json:
        facts = {"read": summary.to_dict(), "added": added.to_dict(), "matched": matched.to_dict()}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    _say(str(summary))
    _say(str(added))
    _say(str(matched))


@device.command()
def keep(
    days: Annotated[int, typer.Argument(min=1, help="How many days listens are kept; 730 by default.")],
    folder: Folder = _HOME,
) -> None:
    """Say how long listens are kept. What is older is deleted at once."""
    with _opened(folder) as opened:
        before = opened.vault.count()
        opened.vault.retention_days = days
        _say(f"Listens are kept for {days:,} days; {before - opened.vault.count():,} older ones were deleted.")


@device.command()
def playlist(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save as .xspf, .jspf or .m3u8.")] = None,
    folder: Folder = _HOME,
    as_json: Json = False,
) -> None:
    """Show this week's playlist with a reason beside each track, and save it."""
    with _opened(folder) as opened:
        made = opened.playlist()
    if out is not None:
        made.save(out)
    if as_json:
        items = [
            {"title": one.title, "artist": one.artist, "reason": one.reason, "kind": one.kind} for one in made.items
        ]
        facts = {"year": made.year, "week": made.week, "level": made.level.name.lower(), "items": items}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    from fedpersona.simulation.narration import printable

    table = Table(title=made.title, caption=made.note, title_justify="left", caption_justify="left", box=None)
    for heading, style in (("", "dim"), ("Title", ""), ("Artist", ""), ("Why", "dim")):
        table.add_column(heading, style=style, overflow="fold")
    for number, one in enumerate(made.items, start=1):
        table.add_row(str(number), *(_plain(printable(text)) for text in (one.title, one.artist, one.reason)))
    console = Console(width=110) if not sys.stdout.isatty() else Console()
    console.print(table)
    if out is not None:
        _say(f"Saved: {out}")


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


@device.command()
def join(
    server: Annotated[str, typer.Argument(help="The server's address; 'practice' is one inside this command.")],
    folder: Folder = _HOME,
    charging: Annotated[bool, typer.Option(help="Only while charging.")] = False,
    unmetered: Annotated[bool, typer.Option(help="Only on a network that costs nothing.")] = False,
    idle: Annotated[bool, typer.Option(help="Only while the device is idle.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Wait at most so many seconds.")] = 60.0,
) -> None:
    """Visit a server once: take its model and, with your consent, contribute to its open rounds.

    This version reaches servers of its own process only. 'practice' is one with 300 invented people: all of it
    happens on this machine, and you see what taking part is like.
    """
    from contextlib import nullcontext

    from fedpersona.device.conditions import Conditions
    from fedpersona.simulation.practice import practice

    when = Conditions(charging=charging, unmetered=unmetered, idle=idle)
    address = _address(server)
    with practice() if server == "practice" else nullcontext(), _opened(folder) as opened:
        before = max((entry.number for entry in opened.ledger.tail(1)), default=0)
        membership = opened.join(address, when=when, wait=wait)
        _say(f"{address}: {membership.state}")
        tail = opened.ledger.tail(50)
        new = type(tail)(entry for entry in tail if entry.number > before)
        _say(str(new) if new else "Nothing left, came or was refused in this visit.")
        if membership.state.startswith("failed"):
            raise typer.Exit(2)


@consents.command("show")
def consent_show(folder: Folder = _HOME, as_json: Json = False) -> None:
    """Show what you said yes and no to."""
    with _opened(folder) as opened:
        states = opened.consent.states()
    if as_json:
        sys.stdout.write(json.dumps([state.to_dict() for state in states]) + "\n")
    else:
        _say("\n".join(str(state) for state in states) or "You were asked nothing yet, so nothing may leave.")


@consents.command("notice")
def consent_notice(purpose: Purpose) -> None:
    """Print the notice of a purpose: what you say yes to when you grant it."""
    from fedpersona.device.notice import notice

    _say(notice(purpose).text)


@consents.command("grant")
def consent_grant(
    purpose: Purpose,
    server: Server,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it holds.")] = 365,
    yes: Annotated[bool, typer.Option("--yes", help="You have read the notice: do not ask.")] = False,
    folder: Folder = _HOME,
) -> None:
    """Read the notice of one purpose, and say yes to it for one server."""
    from fedpersona.device.notice import notice

    text = notice(purpose).text
    with _opened(folder) as opened:
        seen = opened.consent.epoch
        _say(text)
        if sys.stdin.isatty() and not yes:
            typer.confirm(f"Do you say yes to this, for {_address(server)}?", abort=True, err=True)
        opened.consent.grant(purpose, server=_address(server), days=days, seen=seen)
        _say(str(opened.consent.state(purpose, _address(server))))


@consents.command("refuse")
def consent_refuse(purpose: Purpose, server: Server, folder: Folder = _HOME) -> None:
    """Say no to one purpose, for one server."""
    with _opened(folder) as opened:
        opened.consent.refuse(purpose, server=_address(server))
        _say(str(opened.consent.state(purpose, _address(server))))


@consents.command("withdraw")
def consent_withdraw(purpose: Purpose, server: Server, folder: Folder = _HOME) -> None:
    """Take a yes back, at once."""
    with _opened(folder) as opened:
        opened.consent.withdraw(purpose, server=_address(server))
        _say(str(opened.consent.state(purpose, _address(server))))


@ledgers.callback(invoke_without_command=True)
def ledger_show(
    context: typer.Context,
    count: Annotated[int, typer.Option("-n", min=1, help="How many of the last entries.")] = 20,
    folder: Folder = _HOME,
    as_json: Json = False,
) -> None:
    """Show what left this device, what came, what was refused, and why."""
    if context.invoked_subcommand is not None:
        return
    with _opened(folder) as opened:
        tail = opened.ledger.tail(count)
        if as_json:
            sys.stdout.write(json.dumps(opened.ledger.export()[-count:]) + "\n")
        else:
            _say(str(tail))


@ledgers.command("verify")
def ledger_verify(folder: Folder = _HOME) -> None:
    """Check both chains, of the ledger and of your consents: a changed or removed entry shows."""
    with _opened(folder) as opened:
        entries, records = opened.ledger.verify(), opened.consent.verify()
    _say(f"whole: {entries:,} ledger entries and {records:,} consent records, each signed and in its place")


@device.command()
def export(
    out: Annotated[Path, typer.Argument(help="The zip to write; it must not be there yet.")],
    folder: Folder = _HOME,
) -> None:
    """Write everything that is kept about you as a zip of plain files."""
    with _opened(folder) as opened:
        opened.export(out)
    _say(f"Written: {out}. It is not encrypted: keep it where only you can read it.")


@device.command()
def forget(
    folder: Folder = _HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete everything: history, playlists, consents, ledger and the key. It cannot be undone.

    What cannot be opened is deleted unread: a mistyped passphrase does not stop it.
    """
    from fedpersona.device.folder import ours

    if not ours(folder):
        raise _no_device(folder)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("forget deletes everything for good: say --yes where nobody can be asked")
        question = f"Delete everything in {folder}, for good? A mistyped passphrase does not stop it."
        typer.confirm(question, abort=True, err=True)
    listens = _forgotten(folder)
    _say(f"Forgotten: {listens}, every consent and ledger entry, and the key. {_left(folder)}")


def _forgotten(folder: Path) -> str:
    """Delete the device, opened or unread, and return what went with it."""
    from fedpersona.device.forgetting import forget_unopened

    try:
        with _opened(folder) as opened:
            listens = f"{opened.vault.count():,} listens"
            try:
                opened.forget()
            except KeyUnavailable as error:  # the keyring keeps its entry: the files are gone
                _notice(str(error))
            return listens
    except (DeviceError, DataNotFound) as error:
        reason = "only a part of it is left" if isinstance(error, DataNotFound) else str(error)
        _notice(f"it could not be opened ({reason}), so it is deleted unread")
    entry = forget_unopened(folder)
    if entry is not None:
        _notice(entry)
    return "all listens"


def _left(folder: Path) -> str:
    from fedpersona.device.folder import not_ours
    from fedpersona.simulation.narration import printable

    names = not_ours(folder)
    if not names:
        return f"{folder} is gone."
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return f"{folder} stays, left, not ours: {', '.join(map(printable, names[:_MOST_NAMES]))}{more}"


@device.command()
def status(
    folder: Folder = _HOME,
    whole: Annotated[bool, typer.Option("--check", help="Read every page of the vault and both chains, too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is kept, what is set, and whether it is whole."""
    with _opened(folder) as opened:
        facts = dict(opened.status())
        if whole:
            opened.check()
            facts["whole"] = True
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        _print_status(facts)


def _print_status(facts: dict[str, Any]) -> None:
    floors = facts["policy"]
    answers = [
        f"{one['purpose']} for {one['server']}: {one['status']}"
        + (f", until {_day(one['until'])}" if one["status"] == "granted" else "")
        for one in facts["consents"]
    ]
    kept = f"{facts['listens']:,} listens"
    if facts["listens"]:
        kept += f", {_day(facts['first_listen'])} to {_day(facts['last_listen'])}"
    rows = [
        ("Folder", facts["folder"]),
        ("Kept", f"{kept}; what is older than {facts['retention_days']:,} days is deleted"),
        ("Catalogue", facts["catalogue"].removeprefix("Catalogue(").removesuffix(")")),
        ("Shared model", facts["shared_model"] or "none yet"),
        ("Your answers", "\n".join(answers) or "none: nothing may leave"),
        ("Left this device", _contributions(facts)),
        ("Key", "in the system keyring" if facts["key"] == "keyring" else "in key.json, under your passphrase"),
        ("Your floors", _floors(floors)),
    ]
    if facts.get("whole"):
        rows.append(("Checked", "every page and both chains are whole"))
    table = Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _plain(value))
    Console(width=110 if not sys.stdout.isatty() else None).print(table)


def _contributions(facts: dict[str, Any]) -> str:
    count = facts["contributions"]
    if count is None:
        return str(facts["broken"])
    return (
        "nothing" if not count else f"{count:,} contribution{'' if count == 1 else 's'}: see 'fedpersona device ledger'"
    )


def _floors(policy: dict[str, Any]) -> str:
    clip = policy["largest_clip"]
    return (
        f"sums of at least {policy['least_cohort']:,} devices, "
        f"{'masked or not' if policy['allow_unmasked'] else 'always masked'}, "
        f"{'of any length' if clip is None else f'no longer than {clip:g}'}; "
        f"at most {policy['most_rounds_a_day']:,} rounds a day and {policy['largest_upload'] / 1e6:,.0f} MB a round; "
        f"models: {', '.join(policy['models'])}"
    )


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y").lstrip("0")
