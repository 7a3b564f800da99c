"""What is installed here, and which data is found: the first thing to look at when something does not work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from fedpersona.simulation import datasets
from fedpersona.simulation.environment import git_revision, installed, versions

__all__ = ["examine", "findings_table"]

_OPTIONAL = {
    "torch": "nothing here uses it yet; neural taste models will",
    "flwr": "nothing here uses it yet; federations will",
    "ray": "nothing here uses it yet; clusters will",
    "pytest": "for the tests",
}


def examine(data: Path | None) -> dict[str, Any]:
    """Return versions, optional parts (without importing them) and datasets found."""
    return {
        "versions": versions(),
        "git_revision": git_revision(),
        "optional": {name: installed(name) if find_spec(name) else None for name in _OPTIONAL},
        "data": {"synthetic": "comes with the package", **datasets.available(data)},
        "runs_writable": os.access("runs" if Path("runs").is_dir() else ".", os.W_OK),
    }


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
    table.add_section()
    for name, found in findings["data"].items():
        table.add_row(f"data: {name}", found or "[dim]not found; name its folder with --data or FEDPERSONA_DATA[/dim]")
    table.add_row(
        "runs/", "writable" if findings["runs_writable"] else "[red]not writable: run elsewhere, or use --out[/red]"
    )
    return table
