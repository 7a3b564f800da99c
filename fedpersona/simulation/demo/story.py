"""What a person sees of the demo: a heading an act, a few lines each, a bar while something takes its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fedpersona.simulation.demo.accuracy import Accuracy
from fedpersona.simulation.narration import Terminal, printable

__all__ = ["Story"]


class Story:
    """Tells the demo on a console. Use it in a ``with`` block.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Terminal(console)
        self._act = 0

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def act(self, title: str, waiting: str) -> None:
        """Begin an act.

        Args:
            title: its heading.
            waiting: what is done meanwhile, beside the bar.
        """
        self._act += 1
        self._console.print(Text(f"\n{self._act}. {title}", style="bold cyan"))
        if self._console.is_terminal:
            self._bar.stage(waiting)

    def say(self, words: str) -> None:
        """Print a line or two that stay."""
        self._console.print(Padding(Text(printable(words)), (0, 0, 0, 3)))

    def progress(self, done: int, total: int) -> None:
        """Move the bar, where there is one."""
        if self._console.is_terminal:
            self._bar.progress(done, total)

    def playlist(self, name: str, facts: Mapping[str, Any]) -> None:
        """Show a person's list."""
        table = _table(f"{name}: {facts['title'][0].lower()}{facts['title'][1:]}")
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("Track", no_wrap=True, overflow="ellipsis", ratio=5)
        table.add_column("Why", no_wrap=True, overflow="ellipsis", ratio=6, style="dim")
        for place, one in enumerate(facts["items"], start=1):
            table.add_row(
                str(place), Text(printable(f"{one['artist']} — {one['title']}")), Text(printable(one["reason"]))
            )
        self._console.print(Padding(table, (0, 0, 1, 3)))

    def lines(self, lines: Sequence[str]) -> None:
        """Show lines of a record, as they are."""
        for line in lines:
            self._console.print(Padding(Text(printable(line), style="dim"), (0, 0, 0, 3)))

    def figures(self, found: Accuracy) -> None:
        """Show accuracy, floor and ceiling."""
        table = _table("")
        table.add_column("NDCG@10, full ranking", no_wrap=True)
        table.add_column("", justify="right", no_wrap=True)
        low, high = found.interval
        table.add_row("floor: what is popular among them", f"{found.floor:.3f}", style="dim")
        table.add_row("the federation's model", f"{found.model:.3f}  [{low:.3f}, {high:.3f}]", style="bold")
        table.add_row("ceiling: the same model, fitted by one who sees all", f"{found.ceiling:.3f}", style="dim")
        self._console.print(Padding(table, (0, 0, 0, 3)))

    def verdict(self, words: str, *, good: bool) -> None:
        """Print what it all came to."""
        self._console.print(Padding(Text(printable(words), style="bold green" if good else "bold red"), (0, 0, 0, 3)))


def _table(title: str) -> Table:
    return Table(
        expand=bool(title),
        title=Text(printable(title), style="bold") if title else None,
        title_justify="left",
        box=box.HORIZONTALS,
        show_edge=False,
        pad_edge=False,
    )
