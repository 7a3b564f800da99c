"""What a person sees while a run works: a progress bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["Narrator", "Silence", "Terminal", "printable"]

_SECONDS_BETWEEN_LINES = 5.0


def printable(text: str) -> str:
    """Return text on which no terminal acts: control characters are spelled out."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


class Narrator(Protocol):
    """Hears about a run as it goes."""

    def stage(self, text: str) -> None:
        """A new stage of work begins."""
        ...

    def progress(self, done: int, total: int) -> None:
        """``done`` of ``total`` of the present stage are done; may be called from several threads."""
        ...

    def note(self, text: str) -> None:
        """Something worth a line has happened."""
        ...


class Silence:
    """A narrator that says nothing."""

    def stage(self, text: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class Terminal:
    """Tells a run on a console: a live bar where it is a terminal, a line a stage where it is not."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._text = ""
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Begin a new bar, or print a line."""
        text = printable(text)
        self._text = text
        self._last_line = time.monotonic()
        if self.console.is_terminal:
            self._bar.reset(self._task, description=escape(text), total=None)
        else:
            self.console.print(text, highlight=False, markup=False)

    def progress(self, done: int, total: int) -> None:
        """Move the bar; without a terminal, print a line every few seconds."""
        if self.console.is_terminal:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES and done < total:
            self._last_line = time.monotonic()
            self.console.print(f"{self._text}: {done:,} of {total:,}", highlight=False, markup=False)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(printable(text), highlight=False, markup=False)
