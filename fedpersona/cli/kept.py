"""What an operator's server keeps, opened for the commands that show it, and how they show it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from fedpersona.cli.opening import plain, say
from fedpersona.cli.serve import found_config

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.database import Database
    from fedpersona.aggregation.journal import Journal
    from fedpersona.aggregation.registry import Registry
    from fedpersona.aggregation.roster import Roster
    from fedpersona.aggregation.trainings import Trainings

__all__ = ["Kept", "as_pairs", "as_table", "as_time", "kept_by", "to_json"]


@dataclass(frozen=True)
class Kept:
    """What a server keeps, each part opened when it is asked for."""

    config: ServerConfig
    database: Database

    @cached_property
    def roster(self) -> Roster:
        """Who is enrolled."""
        from fedpersona.aggregation.roster import Roster

        return Roster(self.database)

    @cached_property
    def journal(self) -> Journal:
        """What the server did."""
        from fedpersona.aggregation.journal import Journal

        return Journal(self.database)

    @cached_property
    def registry(self) -> Registry:
        """The models."""
        from fedpersona.aggregation.registry import Registry

        return Registry(self.database, self.config.models)

    @cached_property
    def trainings(self) -> Trainings:
        """The trainings."""
        from fedpersona.aggregation.trainings import Trainings

        return Trainings(self.database, self.config.models)

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the operator's key."""
        from fedpersona.aggregation.certificates import signing_key

        return signing_key(self.config.server.signing_key)


@contextmanager
def kept_by(path: Path | None) -> Iterator[Kept]:
    """Open the state of the server that a file configures, as long as the context lasts."""
    from fedpersona.aggregation.database import Database

    config = found_config(path)
    with Database.open(config.database) as database:
        yield Kept(config, database)


def to_json(found: Any) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(found, ensure_ascii=False))


def _console() -> Console:
    return Console(width=130 if not sys.stdout.isatty() else None)


def as_pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values."""
    table = Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, plain(value))
    _console().print(table)


def as_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or a sentence where it would be empty."""
    table = Table(box=None, header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(str(value)) for value in row))
    if table.row_count:
        _console().print(table)
    else:
        say(empty)


def as_time(at: int | None) -> str:
    """Return a time in words a person reads, nothing for None."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
