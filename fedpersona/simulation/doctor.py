"""What is installed here, and which data is found: the first thing to look at when something does not work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from fedpersona.simulation import datasets
from fedpersona.simulation.environment import git_revision, installed, versions
from fedpersona.simulation.kernel import absence, library

__all__ = ["examine", "findings_table"]

_OPTIONAL = {
    "torch": "neural taste models need it: the extra 'torch'",
    "flwr": "federations need it",
    "ray": "the engine 'ray' needs it: the extra 'simulation'",
    "pytest": "for the tests",
}


def examine(data: Path | None) -> dict[str, Any]:
    """Return versions, optional parts (without importing them) and datasets found."""
    return {
        "versions": versions(),
        "git_revision": git_revision(),
        "optional": {name: installed(name) if find_spec(name) else None for name in _OPTIONAL},
        "kernel": _kernel(),
        "data": {"synthetic": "comes with the package", **datasets.available(data)},
        "runs_writable": os.access("runs" if Path("runs").is_dir() else ".", os.W_OK),
    }


def _kernel() -> dict[str, str | None]:
    """Return what the compiled kernel was built for, of what runs here; or why there is none."""
    opened = library()
    return {"for": None if opened is None else opened.description, "absence": absence()}


def findings_table(findings: dict[str, Any]) -> Table:
    """Lay the findings out for a person."""
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("found", overflow="fold")
    for name, found in findings["versions"].items():
        table.add_row(name, found)
    table.add_section()
    for name, found in findings["optional"].items():
        table.add_row(name, found or f"[dim]not installed: {_OPTIONAL[name]}[/dim]")
    kernel = findings["kernel"]
    table.add_row("compiled kernel", kernel["for"] or f"[dim]{escape(kernel['absence'])}[/dim]")
    table.add_section()
    for name, found in findings["data"].items():
        table.add_row(f"data: {name}", found or "[dim]not found; name its folder with --data or FEDPERSONA_DATA[/dim]")
    table.add_row(
        "runs/", "writable" if findings["runs_writable"] else "[red]not writable: run elsewhere, or use --out[/red]"
    )
    return table
