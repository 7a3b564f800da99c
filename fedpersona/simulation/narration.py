"""What a person sees while a run works: a progress bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["Narrator", "Silence", "Terminal", "printable"]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_MOVES = 0.1
"""A round can take a millisecond, and moving a bar a tenth of that."""
_WIDE = 100
"""Columns of a terminal that all there is to tell fits into."""
_SURE_SECONDS = 0.5
"""Time before a rate or what is left is said: the first round warms caches up."""


def printable(text: str) -> str:
    """Return text on which no terminal acts: control characters are spelled out."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


class Narrator(Protocol):
    """Hears about a run as it goes."""

    def stage(self, text: str) -> None:
        """A new stage of work begins."""
        ...

    def progress(self, done: int, total: int) -> None:
        """``done`` of ``total`` of the present stage or round are done; may be called from several threads."""
        ...

    def rounds(self, text: str, done: int, total: int, devices: int, figure: float | None = None) -> None:
        """``done`` of ``total`` rounds are done, with so many devices since the call before; may cost no time.

        Args:
            text: the model, and on how many devices.
            done: rounds that are done; the first call says from where the training goes on.
            total: rounds that there will be.
            devices: how many answered in the rounds since the last call.
            figure: NDCG@10 on validation items as it was last measured.
        """
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

    def rounds(self, text: str, done: int, total: int, devices: int, figure: float | None = None) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class Terminal:
    """Tells a run on a console: a live bar where it is a terminal, a line every few seconds where it is not."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._narrow = console.width < _WIDE
        told = (
            TextColumn("{task.description}"),
            BarColumn(8 if self._narrow else 20),
            TextColumn("{task.fields[facts]}"),
        )
        self._bar = Progress(
            *(told if self._narrow else (SpinnerColumn(), *told, TimeElapsedColumn())),
            console=console,
            transient=True,
            disable=not self._live,
            refresh_per_second=8,
        )
        self._task = self._bar.add_task("starting", total=None, facts="")
        self._text = ""
        self._last = time.monotonic()
        self._pace: _Pace | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, text: str) -> None:
        """Begin a new bar, or print a line."""
        self._pace = None
        self._begin(printable(text))

    def _begin(self, text: str) -> None:
        self._text, self._last = text, time.monotonic()
        if self._live:
            self._bar.reset(self._task, description=escape(text), total=None, facts="")
        else:
            self._line(text)

    def progress(self, done: int, total: int) -> None:
        """Move the bar; without a terminal, print a line every few seconds."""
        if not self._due():
            return
        if self._pace is not None:
            self._show(self._pace, done, total)
        elif self._live:
            self._bar.update(self._task, completed=done, total=total, facts=f"{done:,}/{total:,}")
        elif done < total:
            self._line(f"{self._text}: {done:,} of {total:,}")

    def rounds(self, text: str, done: int, total: int, devices: int, figure: float | None = None) -> None:
        """Move one bar over all rounds; without a terminal, print a line every few seconds."""
        pace = self._pace
        if pace is None:
            self._begin(printable(text) if self._live else f"round {done + 1} of {total}: {printable(text)}")
            self._text = printable(text)
            self._pace = _Pace(done, total)
            return
        pace.done, pace.figure = done, pace.figure if figure is None else figure
        pace.devices += devices
        if done == total or self._due():
            self._show(pace, 0, 1)

    def _show(self, pace: _Pace, part: int, of: int) -> None:
        facts = pace.facts()
        if self._live:
            done = pace.done + part / max(of, 1)
            count = f"{pace.done:,}/{pace.total:,}{'' if self._narrow else ' rounds'}"
            self._bar.update(self._task, completed=done, total=pace.total, facts=escape("  ".join((count, *facts))))
        elif pace.done < pace.total:
            inside = f"; {part:,} of {of:,} devices" if 0 < part < of else ""
            told = ", ".join(facts)
            self._line(f"round {pace.done + 1} of {pace.total}: {self._text}{inside}{'; ' if told else ''}{told}")

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < (_SECONDS_BETWEEN_MOVES if self._live else _SECONDS_BETWEEN_LINES):
            return False
        self._last = now
        return True

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._line(printable(text))

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=not self._live)


class _Pace:
    """How fast a training goes, since this process took it up."""

    def __init__(self, done: int, total: int) -> None:
        self.first = self.done = done
        self.total = total
        self.devices = 0
        self.figure: float | None = None
        self._started = time.monotonic()

    def facts(self) -> list[str]:
        """Return devices a second, time left and the latest figure, as far as they are known."""
        facts, seconds = [], time.monotonic() - self._started
        if self.done > self.first and seconds > _SURE_SECONDS:
            facts.append(f"{self.devices / seconds:,.0f} devices/s")
            facts.append(f"{_clock(seconds / (self.done - self.first) * (self.total - self.done))} left")
        if self.figure is not None:
            facts.append(f"NDCG@10 {self.figure:.4f}")
        return facts


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
