"""What every ``fedpersona device`` command needs: its options, the device opened, and how it speaks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from fedpersona.errors import DataNotFound

if TYPE_CHECKING:
    from fedpersona.device.device import Device

__all__ = ["HOME", "Folder", "Json", "address_of", "is_here", "no_device", "note", "opening", "plain", "say"]


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

HOME = Path("~/.fedpersona")


@contextmanager
def opening(folder: Path, *, make: bool = False) -> Iterator[Device]:
    """Give the device in a folder, open; ask for the passphrase where somebody is there to ask."""
    from fedpersona.device.device import Device

    if not make and not is_here(folder):
        raise no_device(folder)
    asks = sys.stdin.isatty() and not os.environ.get("FEDPERSONA_PASSPHRASE")
    with Device.open(folder, passphrase=_asked if asks else None) as opened:
        yield opened


def is_here(folder: Path) -> bool:
    """Tell whether there is something to open, or something to say about why it cannot be opened."""
    from fedpersona.device.folder import DATABASE, KEY_FILE

    database = folder / DATABASE
    return (folder / KEY_FILE).exists() or (database.exists() and database.stat().st_size > 0)


def no_device(folder: Path) -> DataNotFound:
    """Return the error that there is no device."""
    return DataNotFound("no device is here yet: begin with 'fedpersona device init'", path=folder)


def _asked() -> str:
    return str(typer.prompt("Passphrase", hide_input=True, err=True))


def say(words: str) -> None:
    """Print a result."""
    Console(soft_wrap=True).print(words, markup=False, highlight=False)


def note(words: str) -> None:
    """Print what a person should know beside the result, on stderr."""
    Console(stderr=True, soft_wrap=True).print(f"Note: {words}", markup=False, highlight=False, style="yellow")


def address_of(server: str) -> str:
    """Return the address of a server, or of the practice server by its name."""
    from fedpersona.simulation.practice import PRACTICE

    return PRACTICE if server == "practice" else server


def plain(text: str) -> Any:
    """Return a text for a table in which no markup is read."""
    from rich.text import Text

    return Text(text)
