"""The taste map: items of the shared space on a plane, coloured by what people call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.report.item_vectors import item_directions
from fedpersona.simulation.report.neighbour_map import two_dimensions
from fedpersona.simulation.report.theme import GROUPS, SCALE, Drawing, colour, drawing, new_figure, plain
from fedpersona.simulation.report.wording import counted
from fedpersona.taste import Shared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TasteMap", "draw_taste_map"]

_MOST_POINTS = 3000
_MOST_LABELS = 14
_LABEL_CANDIDATES = 80
_LABEL_LENGTH = 28
_WIDTH, _HEIGHT = 8.6, 7.4


@dataclass(frozen=True)
class TasteMap:
    """A drawn map, and what it shows."""

    drawing: Drawing
    items: int
    """Points on it."""
    by_tag: bool
    """Coloured by tag; by number of listeners, or votes, where the catalogue has no tags."""


@dataclass(frozen=True, eq=False)
class _Group:
    label: str
    role: str
    members: NDArray[np.int64]
    """Positions among the points."""
    area: float = 11.0
    """Of a point, in square points."""


def draw_taste_map(shared: Shared, catalogue: Catalogue, *, counts: str = "listener") -> TasteMap | None:
    """Draw the most played items; None for a model that has no space, or fewer than four items in it.

    ``counts`` is what ``listeners`` of the model counts: under noise people share one vote out, and no listener is
    counted.
    """
    with threadpool_limits(1):  # quicker for matrices this small, and no sum depends on the number of cores
        rows, directions = item_directions(shared, _MOST_POINTS)
        if len(rows) < 4:
            return None
        places = two_dimensions(directions)
    tags = [plain(catalogue.tags[row][0], 24) if catalogue.tags[row] else "" for row in rows]
    by_tag = any(tags)
    groups = _tag_groups(tags) if by_tag else _listener_groups(shared["listeners"][rows], counts)
    titles = [plain(catalogue.label(int(row))) for row in rows]
    tooltips = {}
    with new_figure(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_axes((0.01, 0.09, 0.98, 0.9))
        axes.set_axis_off()
        _frame(axes, places)
        for number, group in enumerate(groups):
            x, y = places[group.members].T
            faint = group.role == "other"
            axes.scatter(
                x,
                y,
                s=group.area,
                color=colour(group.role),
                alpha=0.85,
                linewidths=0,
                label=group.label,
                gid=f"points{number}",
                zorder=1 if faint else 2,
            )
            tooltips[f"points{number}"] = [_tooltip(titles[m], tags[m]) for m in group.members]
        _label_most_played(axes, places, [plain(catalogue.titles[row], _LABEL_LENGTH) for row in rows])
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=min(len(groups), 5),
            frameon=False,
            handletextpad=0.1,
            columnspacing=1.4,
            markerscale=1.8,
            fontsize=9,
        )
        alt = f"Map of the {len(rows):,} most played items of the shared space, coloured by " + (
            "tag" if by_tag else f"number of {counts}s"
        )
        return TasteMap(drawing(figure, "taste-map", alt, tooltips), len(rows), by_tag)


def _tooltip(title: str, tag: str) -> str:
    return f"{title} · {tag}" if tag else title


def _tag_groups(tags: Sequence[str]) -> list[_Group]:
    """The most common first tags, then all others."""
    common = [tag for tag, _ in Counter(filter(None, tags)).most_common(len(GROUPS))]
    column = np.array(tags)
    groups = [_Group(tag, role, np.flatnonzero(column == tag)) for tag, role in zip(common, GROUPS, strict=False)]
    others = np.flatnonzero(~np.isin(column, common))
    return [*groups, *([_Group("other tags", "other", others, area=7.0)] if len(others) else [])]


def _listener_groups(listeners: NDArray[np.float32], counts: str) -> list[_Group]:
    """Fifths of the items by number of listeners or votes, the least played first; rows come most played first."""
    groups = []
    fifths = np.array_split(np.arange(len(listeners))[::-1], len(SCALE))
    for number, (fifth, role) in enumerate(zip(fifths, SCALE, strict=True)):
        if len(fifth):
            low, high = (round(float(listeners[fifth].min())), round(float(listeners[fifth].max())))
            label = counted(low, counts) if low == high else f"{low:,} to {high:,} {counts}s"
            groups.append(_Group(label, role, fifth.astype(np.int64), area=5.0 * 1.4**number))
    return groups


def _frame(axes: Axes, places: NDArray[np.float64]) -> None:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = np.maximum((high - low) * 0.04, 1e-3)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])


def _label_most_played(axes: Axes, places: NDArray[np.float64], titles: Sequence[str]) -> None:
    """Name the most played items, as far as there is room: no label lies on another one or leaves the page."""
    on_page = axes.transData.transform(places[:_LABEL_CANDIDATES])
    scale = axes.figure.dpi / 72.0
    page = axes.get_window_extent()
    taken: list[tuple[float, float, float, float]] = []
    for point, (x, y), title in zip(places, on_page, titles, strict=False):
        if len(taken) >= _MOST_LABELS:
            break
        half_width, half_height = (2.9 * len(title) + 4) * scale, 7.5 * scale
        for offset in (9, -9):  # points above, or below
            middle = y + offset * scale
            box = (x - half_width, middle - half_height, x + half_width, middle + half_height)
            inside = box[0] > page.x0 and box[2] < page.x1 and box[1] > page.y0 and box[3] < page.y1
            if inside and not any(_overlap(box, other) for other in taken):
                axes.annotate(
                    title,
                    (point[0], point[1]),
                    xytext=(0, offset),
                    textcoords="offset points",
                    ha="center",
                    va="center",
                    fontsize=9,
                    zorder=4,
                    gid=f"label{len(taken)}",
                )
                taken.append(box)
                break


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
