"""The status of a device, in words."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from fedpersona.cli.opening import plain

__all__ = ["status_table"]


def status_table(facts: dict[str, Any]) -> None:
    """Print what :meth:`fedpersona.Device.status` tells."""
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
        *_privacy(facts),
        ("Key", "in the system keyring" if facts["key"] == "keyring" else "in key.json, under your passphrase"),
        ("Your floors", _floors(floors)),
    ]
    if facts.get("whole"):
        rows.append(("Checked", "every page and both chains are whole"))
    table = Table(box=None, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, plain(value))
    Console(width=110 if not sys.stdout.isatty() else None).print(table)


def _contributions(facts: dict[str, Any]) -> str:
    count = facts["contributions"]
    if count is None:
        return str(facts["broken"])
    return (
        "nothing" if not count else f"{count:,} contribution{'' if count == 1 else 's'}: see 'fedpersona device ledger'"
    )


def _privacy(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the contributions cost, where there were any, and whether some are missing."""
    from fedpersona.device.spending import Spent

    found = [("Older copy", f"{facts['rolled_back']}: see 'fedpersona device ledger'")] if facts["rolled_back"] else []
    told = facts["privacy"]
    if told is not None and Spent.read(told["life"]) != Spent():
        found.append(("Privacy loss", f"at worst {Spent.read(told['life']).words}, over this device's life"))
    limit = facts["policy"]["largest_epsilon"]
    if limit is not None:
        found.append(("Your limit", f"ε {limit:g} over this device's life; rounds without noise are refused"))
    return found


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
