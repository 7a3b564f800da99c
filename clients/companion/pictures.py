"""Pictures of what is kept, as places and lengths for the templates to draw; each has its table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clients.companion.wording import counted, month
from fedpersona.catalogue import Catalogue
from fedpersona.device.taste_map import TasteMap

__all__ = ["Bar", "Bars", "Dot", "Drawn", "Label", "bars_by_time", "draw_map", "shares"]

_MOST_MONTHS = 60
_NAMED = 10
_NAMED_FIRST = 2  # tracks whose names come before those of the regions
_CROWDED = 220  # points played, from which on they are drawn smaller
_LONGEST_NAME = 26


@dataclass(frozen=True)
class Bar:
    """One bar."""

    name: str
    count: int
    x: float
    y: float
    width: float
    height: float

    @property
    def says(self) -> str:
        """What it stands for."""
        return f"{self.name}: {counted(self.count, 'listen')}"


@dataclass(frozen=True)
class Label:
    """A word in a picture."""

    text: str
    x: float
    y: float
    anchor: str = "middle"


@dataclass(frozen=True)
class Bars:
    """Bars over time."""

    width: int
    height: int
    base: float
    bars: tuple[Bar, ...]
    lines: tuple[Label, ...]
    """Numbers on the left, with where their line lies."""
    names: tuple[Label, ...]
    """Years and months below."""


def bars_by_time(months: Sequence[tuple[str, int]], width: int, height: int) -> Bars:
    """Draw listens by month, or by year where there are more than sixty months.

    Args:
        months: ``2026-11`` and how many, one after the other.
        width: of the picture, in units of its own.
        height: likewise.
    """
    if len(months) > _MOST_MONTHS:
        years: dict[str, int] = {}
        for name, count in months:
            years[name[:4]] = years.get(name[:4], 0) + count
        months = list(years.items())
    left, top, base = 44.0, 12.0, height - 26.0
    step = (width - left) / max(1, len(months))
    most, marks = _scale(max((count for _, count in months), default=0))
    bars = []
    for number, (name, count) in enumerate(months):
        tall = (base - top) * count / most
        thick = min(step * 0.72, 46.0)
        x = left + number * step + (step - thick) / 2
        bars.append(Bar(month(name), count, _r(x), _r(base - tall), _r(thick), _r(tall)))
    lines = tuple(Label(f"{mark:,}", left - 8, _r(base - (base - top) * mark / most), "end") for mark in marks)
    return Bars(width, height, base, tuple(bars), lines, _time_names(months, bars, width))


def _scale(most: int) -> tuple[int, tuple[int, ...]]:
    """Return a round number not below ``most``, and the marks up to it."""
    step = 1
    while most > 4 * step:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    top = max(step, -(-most // step) * step)
    return top, tuple(range(0, top + 1, step))


def _time_names(months: Sequence[tuple[str, int]], bars: Sequence[Bar], width: int) -> tuple[Label, ...]:
    """Name the bars below, as many as there is room for: each January by its year, and months between."""
    room = 44.0
    names: list[Label] = []
    wanted = sorted(range(len(months)), key=lambda place: (not months[place][0].endswith("-01"), place))
    taken: list[float] = []
    for place in wanted:
        name = months[place][0]
        x = bars[place].x + bars[place].width / 2
        if any(abs(x - other) < room for other in taken) or x > width - 12:
            continue
        taken.append(x)
        text = name[:4] if name.endswith("-01") or len(name) == 4 else month(name)[:3]
        names.append(Label(text, _r(x), 0.0))
    return tuple(sorted(names, key=lambda one: one.x))


def shares(counts: Sequence[int], width: float) -> tuple[float, ...]:
    """Return bars' lengths, the largest count the whole width, none shorter than a hair."""
    most = max(counts, default=0)
    return tuple(_r(max(1.5, width * count / most)) if most else 0.0 for count in counts)


@dataclass(frozen=True)
class Dot:
    """A point of the map."""

    x: float
    y: float
    size: float
    name: str = ""


@dataclass(frozen=True)
class Drawn:
    """The map, drawn. Its ``repr`` shows nothing of the owner's."""

    width: int
    height: int
    known: tuple[Dot, ...]
    """What the owner never played."""
    played: tuple[Dot, ...]
    regions: tuple[Label, ...]
    names: tuple[Label, ...]
    """A few of the tracks played most."""

    def __repr__(self) -> str:
        return f"Drawn({self.width} × {self.height})"


def draw_map(found: TasteMap, catalogue: Catalogue, width: int, height: int) -> Drawn:
    """Draw the map to fit, with words that do not lie on each other.

    Args:
        found: the map.
        catalogue: what its points are.
        width: of the picture, in units of its own.
        height: likewise.
    """
    margin = 22.0
    reach = np.abs(found.places).max(axis=0)
    across = (width / 2 - margin) / max(float(reach[0]), 1e-9)
    down = (height / 2 - margin) / max(float(reach[1]), 1e-9)
    x = width / 2 + found.places[:, 0] * across
    y = height / 2 - found.places[:, 1] * down
    mine = np.flatnonzero(found.weights)
    mine = mine[np.argsort(-found.weights[mine], kind="stable")]
    smaller = min(1.0, max(0.5, (_CROWDED * width / 760 / max(1, len(mine))) ** 0.5))
    most = max(float(found.weights.max(initial=0)), 1.0)
    played = []
    for place in mine.tolist():  # the largest first, so that none is hidden
        weight = float(found.weights[place])
        name = f"{catalogue.label(int(found.rows[place]))}: {counted(round(weight), 'play')}"
        played.append(Dot(_r(x[place]), _r(y[place]), _r(smaller * (3.2 + 4.8 * (weight / most) ** 0.5)), name))
    others = np.flatnonzero(found.weights == 0).tolist()
    known = tuple(Dot(_r(x[place]), _r(y[place]), 1.8) for place in others)
    room = _Room(width, height, [(dot.x, dot.y) for dot in played])
    wide = width > 500
    titled = [(_short(catalogue.titles[int(found.rows[place])]), float(x[place]), float(y[place])) for place in mine]
    names = [room.beside(*one, 6.2) for one in titled[:_NAMED_FIRST]]
    regions = [
        room.over(region.tag, width / 2 + region.x * across, height / 2 - region.y * down, 9.0 if wide else 7.5)
        for region in found.regions
    ]
    names += [room.beside(*one, 6.2) for one in titled[_NAMED_FIRST : _NAMED * (3 if wide else 1)]]
    return Drawn(
        width, height, known, tuple(played), _placed(regions), _placed(names)[: _NAMED if wide else _NAMED // 2]
    )


def _placed(labels: Sequence[Label | None]) -> tuple[Label, ...]:
    return tuple(label for label in labels if label is not None)


class _Room:
    """Where words may be put: not on each other, and those that name a point not on many others.

    Args:
        width: of the picture.
        height: likewise.
        points: what the owner played.
    """

    def __init__(self, width: int, height: int, points: Sequence[tuple[float, float]]) -> None:
        self._width = width
        self._height = height
        self._points = points
        self._taken: list[_Box] = []

    def beside(self, text: str, x: float, y: float, letter: float) -> Label | None:
        """Put a word right or left of a point, None where there is no room."""
        long = letter * len(text)
        for start, anchor, at in ((x + 11, "start", x + 11), (x - 11 - long, "end", x - 11)):
            box = _Box(start, y - 8, start + long, y + 8)
            if self._covered(box) <= 1 and self._take(box):
                return Label(text, _r(at), _r(y + 4), anchor)
        return None

    def over(self, text: str, x: float, y: float, letter: float) -> Label | None:
        """Put a word over a place or a little off it, where it covers fewest points; None where there is no room."""
        half = letter * len(text) / 2
        boxes = [_Box(x - half, y + off - 10, x + half, y + off + 10) for off in (0, -14, 14, -28, 28)]
        for box in sorted(boxes, key=self._covered):
            if self._take(box):
                return Label(text, _r(x), _r(box.bottom - 4.5))
        return None

    def _covered(self, box: _Box) -> int:
        return sum(box.left < x < box.right and box.top < y < box.bottom for x, y in self._points)

    def _take(self, box: _Box) -> bool:
        inside = box.left > 2 and box.top > 2 and box.right < self._width - 2 and box.bottom < self._height - 2
        if not inside or any(box.meets(other) for other in self._taken):
            return False
        self._taken.append(box)
        return True


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1].rstrip() + "…"


def _r(number: float) -> float:
    return round(float(number), 1)
