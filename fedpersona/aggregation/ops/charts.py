"""The dashboard's pictures as numbers: where bars and lines go. The template draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Columns", "Share", "columns", "shares"]

_TOP, _FOOT, _LEFT = 14.0, 22.0, 44.0  # room around the columns for the words of the axes


@dataclass(frozen=True)
class Bar:
    """One round: a pale column of the invited with the answered before it."""

    x: float
    width: float
    outer: float
    """Top of the pale column."""
    inner: float
    """Top of the full column."""
    label: str
    """Under the column; empty under most where they stand close."""
    title: str
    """What a pointer over it tells."""


@dataclass(frozen=True)
class Columns:
    """A chart of rounds, oldest first."""

    width: float
    height: float
    floor: float
    """Where zero is."""
    left: float
    lines: tuple[tuple[float, str], ...]
    """Height and number of each line across."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Share:
    """One bar that lies: a name, its number in words, and its length of 100."""

    name: str
    words: str
    length: float


def columns(
    rounds: Sequence[tuple[str, int, int, str]], *, width: float, height: float, most: int = 40, labels: int = 8
) -> Columns:
    """Lay out a chart.

    Args:
        rounds: label, invited, answered and title of each, oldest first; the last ``most`` of them are shown.
        width: of the picture.
        height: of the picture.
        most: columns, at most.
        labels: words under the columns, at most.
    """
    shown = rounds[-most:]
    top = _nice(max((max(invited, answered) for _, invited, answered, _ in shown), default=1))
    floor = height - _FOOT
    room = floor - _TOP
    pitch = (width - _LEFT) / max(len(shown), 12)
    wide = min(pitch * 0.64, 34.0)
    every = math.ceil(len(shown) / labels)
    bars = tuple(
        Bar(
            x=round(_LEFT + pitch * place + (pitch - wide) / 2, 2),
            width=round(wide, 2),
            outer=round(floor - room * invited / top, 2),
            inner=round(floor - room * answered / top, 2),
            label=label if (len(shown) - 1 - place) % every == 0 else "",
            title=title,
        )
        for place, (label, invited, answered, title) in enumerate(shown)
    )
    marks = (top // 2, top) if top % 2 == 0 else (top,)
    lines = tuple((round(floor - room * mark / top, 2), f"{mark:,}") for mark in marks)
    return Columns(width, height, floor, _LEFT, lines, bars)


def shares(numbers: Mapping[str, float], unit: str = "", digits: int = 0) -> tuple[Share, ...]:
    """Lay out bars that lie, in the order given, as long as their share of the longest."""
    longest = max(numbers.values(), default=0.0)
    return tuple(
        Share(name, f"{number:,.{digits}f}{unit}", round(100 * number / longest, 2) if longest else 0.0)
        for name, number in numbers.items()
    )


def _nice(number: int) -> int:
    """Return the least of 2, 4, 6, 8, 10, 20, 40 … that is not below a number."""
    if number <= 2:
        return 2
    scale = 10 ** math.floor(math.log10(number))
    return next(int(step * scale) for step in (1, 2, 4, 6, 8, 10) if step * scale >= number)
