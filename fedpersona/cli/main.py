"""``fedpersona``: one command, and who each part of it is for."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, NoReturn

import typer

import fedpersona
from fedpersona.cli import experiments
from fedpersona.cli.convert import convert
from fedpersona.cli.device import device
from fedpersona.cli.ending import one_sentence
from fedpersona.cli.privacy import privacy
from fedpersona.cli.serve import serve_app
from fedpersona.cli.server import server

__all__ = ["app", "main"]

app = typer.Typer(
    name="fedpersona",
    help="Learn what people like without seeing what they play.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for _command in (experiments.demo, experiments.simulate, experiments.compare, convert, experiments.doctor):
    app.command()(_command)
app.add_typer(device, name="device")
app.add_typer(privacy, name="privacy")
app.add_typer(serve_app, name="serve")
app.add_typer(server, name="server")


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    """Learn what people like without seeing what they play."""
    if version:
        sys.stdout.write(f"fedpersona {fedpersona.__version__}\n")
    elif context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


def main() -> None:
    """Run the command line: one sentence and an exit code for whatever goes wrong."""
    signal.signal(signal.SIGTERM, _stop)
    raise SystemExit(one_sentence(lambda: app(standalone_mode=False)))


def _stop(signum: int, frame: object) -> NoReturn:
    """Turn a request to end into the same way out as Ctrl-C, so that nothing half-written stays."""
    raise KeyboardInterrupt
