"""What the command line shows of a run: a table of figures, and one listener's weekly list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from fedpersona.catalogue import Catalogue
from fedpersona.device.playlist import Pick

__all__ = ["ResultRow", "metrics_table", "weekly_table"]

_MISSING = "–"
_TITLE_WIDTH = 76
_ROLE_STYLES = {"floor": "dim", "federated": "bold", "ceiling": "dim"}
_PLAIN_METRICS = {"recall@20": "Recall\n@20", "mrr": "MRR", "hr@10": "HR@10", "coverage": "Coverage"}


@dataclass(frozen=True)
class ResultRow:
    """One model's figures in a table: the honest floor, what the federation learned, or the central ceiling."""

    name: str
    role: Literal["floor", "federated", "ceiling"]
    metrics: Mapping[str, float]
    """By name: ``ndcg@10``, ``recall@20``, ``mrr``, ``hr@10``, ``coverage``; one that is missing shows as a dash."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lower and upper end of the 95 % interval of a metric, by its name."""
    rounds: int | None = None
    bytes_up: int | None = None
    """Bytes that one device sends in all; None where nothing is sent by devices."""
    seconds: float | None = None


def metrics_table(rows: Sequence[ResultRow], *, title: str | None = None) -> Table:
    """Return a table of figures, a line a model in the order given, a rule where the role changes.

    Fits in 100 columns for names of up to 16 characters; longer ones wrap.
    """
    table = _table(None if title is None else printable(title))
    table.add_column("Model", overflow="fold")
    table.add_column("Role", no_wrap=True)
    for heading in ("NDCG@10\n± 95 %", *_PLAIN_METRICS.values(), "Rounds", "Upload\n/device", "Seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=False):
        table.add_row(
            printable(row.name),
            row.role,
            _with_interval(row, "ndcg@10"),
            *(_number(row.metrics.get(name), 3) for name in _PLAIN_METRICS),
            _MISSING if row.rounds is None else f"{row.rounds:,}",
            _MISSING if row.bytes_up is None else human_bytes(row.bytes_up),
            _number(row.seconds, 1 if (row.seconds or 0) < 1000 else 0),
            style=_ROLE_STYLES[row.role],
            end_section=after is not None and after.role != row.role,
        )
    return table


def weekly_table(picks: Sequence[Pick], catalogue: Catalogue, listener_name: str) -> Table:
    """Return one listener's weekly list as a table: place, item and reason; what explores is marked by colour."""
    count = f"{len(picks)} {catalogue.kind}{'' if len(picks) == 1 else 's'}"
    table = _table(
        printable(f"A week for {listener_name}: {count} they never played"),
        caption=None if picks else "Nothing is left that they have not played.",
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column(catalogue.kind.capitalize(), overflow="fold")
    table.add_column("Why", overflow="fold")
    for place, pick in enumerate(picks, start=1):
        table.add_row(
            str(place),
            printable(catalogue.label(pick.row)),
            printable(pick.reason),
            style="cyan" if pick.kind == "exploration" else "",
        )
    return table


def human_bytes(count: int) -> str:
    """Return bytes in decimal units with about three figures: ``950 B``, ``7.4 kB``, ``3.8 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def printable(words: str) -> Text:
    """Return words from data as plain text: no markup, and no control character that could drive a terminal."""
    return Text("".join(letter if letter.isprintable() else " " for letter in words))


def _table(title: Text | None, *, caption: str | None = None) -> Table:
    """Return an empty table without edges, wide enough that a title of usual length stays on one line."""
    width = min(max(0 if title is None else title.cell_len, 0 if caption is None else len(caption)), _TITLE_WIDTH)
    return Table(
        title=title,
        caption=caption,
        min_width=width or None,
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _number(value: float | None, places: int) -> str:
    return _MISSING if value is None else f"{value:,.{places}f}"


def _with_interval(row: ResultRow, name: str) -> str:
    """Return the metric and half the width of its interval."""
    shown = _number(row.metrics.get(name), 3)
    if name not in row.metrics or name not in row.intervals:
        return shown
    low, high = row.intervals[name]
    return f"{shown} ± {(high - low) / 2:.3f}"
