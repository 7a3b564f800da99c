"""The commands for researchers: ``fedpersona demo | simulate | compare | doctor``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

from fedpersona.cli.demo import demo
from fedpersona.cli.run_options import Json
from fedpersona.cli.simulate import simulate
from fedpersona.errors import UnknownName

__all__ = ["compare", "demo", "doctor", "simulate"]

TableStyle = Literal["markdown", "latex"]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that runs left.")],
    style: Annotated[str, typer.Option(help="markdown or latex.")] = "markdown",
) -> None:
    """Put runs side by side: figures with intervals, and a paired test against the first.

    [dim]Example:[/dim] fedpersona compare runs/synthetic-subspace runs/synthetic-ease
    """
    from fedpersona.simulation.compare import compare as compare_runs

    if style not in get_args(TableStyle):
        raise UnknownName("style", style, get_args(TableStyle))
    sys.stdout.write(compare_runs(runs, style="latex" if style == "latex" else "markdown").rstrip() + "\n")


def doctor(
    data: Annotated[
        Path | None, typer.Option(envvar="FEDPERSONA_DATA", help="Folder with original files of real datasets.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, which optional parts are there, and which data is found.

    [dim]Example:[/dim] fedpersona doctor
    """
    from fedpersona.simulation.doctor import examine, findings_table

    findings = examine(data)
    if as_json:
        sys.stdout.write(json.dumps(findings, indent=2) + "\n")
    else:
        Console().print(findings_table(findings))
