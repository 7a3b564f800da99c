"""``fedpersona device``: everything a person can do with what their own device keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpersona.cli.consent import consents, ledgers
from fedpersona.cli.opening import HOME, Folder, Json, no_device, note, opening, plain, say
from fedpersona.cli.policy import policies
from fedpersona.cli.status import status_table
from fedpersona.cli.taking_part import join
from fedpersona.errors import ConfigError, DataNotFound, DeviceError, KeyUnavailable

if TYPE_CHECKING:
    from fedpersona.device.vault import Added
    from fedpersona.sources import Summary

__all__ = ["device"]

device = typer.Typer(
    name="device",
    help="Keep your listening history here, make playlists from it, and say what may leave.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
device.add_typer(consents)
device.add_typer(ledgers)
device.add_typer(policies)


_MOST_NAMES = 10


@device.command()
def init(folder: Folder = HOME) -> None:
    """Make the encrypted folder, and say how its key is kept."""
    with opening(folder, make=True) as opened:
        for words in opened.notices:
            note(words)
        say(f"{opened.folder}: ready. Next: fedpersona device import my_spotify_data.zip")


@device.command("import")
def import_history(
    path: Annotated[Path, typer.Argument(help="A file, a folder or a zip that a music service gave you.")],
    folder: Folder = HOME,
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
        opening(folder, make=True) as opened,
        Progress(
            TextColumn("reading"), BarColumn(), DownloadColumn(), console=Console(stderr=True), transient=True
        ) as progress,
    ):
        for words in opened.notices if new else ():
            note(words)
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
        note(
            f"{added.expired:,} listens are older than {days:,} days, so they were not kept; to keep more, say "
            "'fedpersona device keep DAYS' and import again"
        )


def _print_import(summary: Summary, added: Added, matched: Any, *, as_json: bool) -> None:
    if as_json:
        facts = {"read": summary.to_dict(), "added": added.to_dict(), "matched": matched.to_dict()}
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    say(str(summary))
    say(str(added))
    say(str(matched))


@device.command()
def keep(
    days: Annotated[int, typer.Argument(min=1, help="How many days listens are kept; 730 by default.")],
    folder: Folder = HOME,
) -> None:
    """Say how long listens are kept. What is older is deleted at once."""
    with opening(folder) as opened:
        before = opened.vault.count()
        opened.vault.retention_days = days
        say(f"Listens are kept for {days:,} days; {before - opened.vault.count():,} older ones were deleted.")


@device.command()
def playlist(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Save as .xspf, .jspf or .m3u8.")] = None,
    folder: Folder = HOME,
    as_json: Json = False,
) -> None:
    """Show this week's playlist with a reason beside each track, and save it."""
    with opening(folder) as opened:
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
        table.add_row(str(number), *(plain(printable(text)) for text in (one.title, one.artist, one.reason)))
    console = Console(width=110) if not sys.stdout.isatty() else Console()
    console.print(table)
    if out is not None:
        say(f"Saved: {out}")


@device.command()
def enrol(
    invitation: Annotated[
        str,
        typer.Argument(metavar="INVITATION|FILE", help="What the operator gave you, or a file with it; - is stdin."),
    ],
    folder: Folder = HOME,
) -> None:
    """Take up an operator's invitation to a federation. Nothing of your listening history is sent.

    This device makes two keys for that server alone, and sends their public halves and the invitation's token. Where
    the answer is lost, give the same invitation once more.
    """
    from fedpersona.cli.enrolling import invited, outcome_words

    found = invited(invitation)
    with opening(folder) as opened:
        place = opened.enrol(found)
    say(outcome_words(place))


device.command()(join)


@device.command()
def leave(
    server: Annotated[str, typer.Argument(help="The server's address.")],
    folder: Folder = HOME,
) -> None:
    """Give up the place with a server: the keys made for it and the pin of its operator's key are deleted.

    Your answers stay as they are, and so do the models you have. To come back you need another invitation.
    """
    with opening(folder) as opened:
        opened.leave(server)
        known = opened.enrolments.forget(server)
    say(f"Left: {server}. The keys made for it are deleted." if known else f"{server}: was not known to this device.")


@device.command()
def export(
    out: Annotated[Path, typer.Argument(help="The zip to write; it must not be there yet.")],
    folder: Folder = HOME,
) -> None:
    """Write everything that is kept about you as a zip of plain files."""
    with opening(folder) as opened:
        opened.export(out)
    say(f"Written: {out}. It is not encrypted: keep it where only you can read it.")


@device.command()
def forget(
    folder: Folder = HOME,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete everything: history, playlists, consents, ledger and the key. It cannot be undone.

    What cannot be opened is deleted unread: a mistyped passphrase does not stop it.
    """
    from fedpersona.device.folder import ours

    if not ours(folder):
        raise no_device(folder)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("forget deletes everything for good: say --yes where nobody can be asked")
        question = f"Delete everything in {folder}, for good? A mistyped passphrase does not stop it."
        typer.confirm(question, abort=True, err=True)
    listens = _forgotten(folder)
    say(f"Forgotten: {listens}, every consent and ledger entry, and the key. {_left(folder)}")


def _forgotten(folder: Path) -> str:
    """Delete the device, opened or unread, and return what went with it."""
    from fedpersona.device.forgetting import forget_unopened

    try:
        with opening(folder) as opened:
            listens = f"{opened.vault.count():,} listens"
            try:
                opened.forget()
            except KeyUnavailable as error:  # the keyring keeps its entry: the files are gone
                note(str(error))
            return listens
    except (DeviceError, DataNotFound) as error:
        reason = "only a part of it is left" if isinstance(error, DataNotFound) else str(error)
        note(f"it could not be opened ({reason}), so it is deleted unread")
    entry = forget_unopened(folder)
    if entry is not None:
        note(entry)
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
    folder: Folder = HOME,
    whole: Annotated[bool, typer.Option("--check", help="Read every page of the vault and both chains, too.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is kept, what is set, and whether it is whole."""
    with opening(folder) as opened:
        facts = dict(opened.status())
        if whole:
            opened.check()
            facts["whole"] = True
    if as_json:
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        status_table(facts)
