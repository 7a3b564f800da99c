"""The plots of a report: accuracy by round, what lists are like, and who is served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedpersona.simulation.record import Result, RunRecord
from fedpersona.simulation.report.theme import Drawing, colour, drawing, new_figure
from fedpersona.simulation.report.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_accuracy", "draw_discovery", "draw_listeners", "name_lines"]

_PANELS = (
    ("coverage", "Coverage", "share of the catalogue\non anyone's list"),
    ("novelty_bits", "Novelty", "how little known the\nlisted items are, in bits"),
    ("intra_list_diversity", "Diversity", "how unlike each other\nthe items of a list are"),
    ("gini", "Gini", "how unequally items\nare listed"),
)


def draw_accuracy(record: RunRecord) -> Drawing:
    """Draw NDCG@10 on test items by round, between horizontal lines for floor and ceilings with their bands."""
    points = [(r.round_number, r.test_ndcg) for r in record.rounds if r.test_ndcg is not None]
    federated = record.federated
    with new_figure(8.6, 3.9) as figure:
        axes = figure.add_axes((0.05, 0.14, 0.68, 0.82))
        names: list[tuple[float, str, str]] = []
        for result in record.results:
            if result.role == "federated":
                continue
            low, high = result.intervals["ndcg@10"]
            axes.axhspan(low, high, color=colour(result.role), alpha=0.12, linewidth=0)
            axes.axhline(result.test["ndcg@10"], color=colour(result.role), linewidth=1.4)
            names.append((result.test["ndcg@10"], label(result), result.role))
        last = max(len(record.rounds), 1)
        end = federated.test["ndcg@10"]
        low, high = federated.intervals["ndcg@10"]
        numbers, values = [number for number, _ in points], [value for _, value in points]
        axes.plot(
            numbers, values, "-o", color=colour("federated"), linewidth=2.2, markersize=5.5, zorder=3, clip_on=False
        )
        meanwhile = [(r.round_number, r.val_ndcg_meanwhile) for r in record.rounds if r.val_ndcg_meanwhile is not None]
        if meanwhile:
            axes.plot(*zip(*meanwhile, strict=True), ":", color=colour("federated"), linewidth=1.6, zorder=2)
        axes.plot([last, last], [low, high], color=colour("federated"), linewidth=1.2, zorder=3)
        names.append((end, label(federated), "federated"))
        margin = 0.05 * (last - 1) if last > 1 else 0.5
        axes.set_xlim(1 - margin, last + margin)
        axes.set_ylim(0, _ceiling_of_axis(record.results))
        _few_ticks(axes, last)
        axes.set_xlabel("round")
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        name_lines(axes, names)
        alt = f"NDCG@10 by round: {label(federated)} ends at {end:.3f}; " + ", ".join(
            f"{label(r)} {r.test['ndcg@10']:.3f}" for r in record.results if r.role != "federated"
        )
        return drawing(figure, "accuracy", alt)


def draw_discovery(record: RunRecord) -> Drawing | None:
    """Draw coverage, novelty, diversity and Gini of every model's lists; None where none were measured."""
    panels = [panel for panel in _PANELS if all(panel[0] in result.discovery for result in record.results)]
    if not panels:
        return None
    results = record.results
    with new_figure(8.6, 1.15 + 0.32 * len(results)) as figure:
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        height = figure.get_size_inches()[1]
        figure.subplots_adjust(left=0.2, right=0.985, top=1 - 0.85 / height, bottom=0.14 / height, wspace=0.16)
        for axes, (name, title, meaning) in zip(all_axes, panels, strict=True):
            values = [result.discovery[name] for result in results]
            _rows(axes, results)
            for row, (result, value) in enumerate(zip(results, values, strict=True)):
                axes.plot([0, value], [row, row], color=colour(result.role), linewidth=1.6)
                axes.plot([value], [row], "o", color=colour(result.role), markersize=6)
                axes.annotate(
                    f"{value:.1f}" if name == "novelty_bits" else f"{value:.2f}",
                    (value, row),
                    xytext=(7, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                )
            axes.set_xlim(0, max([*values, 1e-9]) * 1.42)
            axes.set_xticks([])
            axes.text(
                0,
                1,
                meaning,
                transform=axes.transAxes,
                va="bottom",
                fontsize=8,
                color=colour("muted"),
                linespacing=1.25,
            )
            axes.set_title(title, pad=30)
        alt = "; ".join(f"{title} of {label(r)} {r.discovery[name]:.3f}" for name, title, _ in panels for r in results)
        return drawing(figure, "discovery", alt)


def draw_listeners(record: RunRecord) -> Drawing | None:
    """Draw NDCG@10 of mainstream, middle and niche listeners by model; None where they were not told apart."""
    groups = ("mainstream", "middle", "niche")
    results = [r for r in record.results if all("ndcg@10" in r.tertiles.get(group, {}) for group in groups)]
    if not results:
        return None
    with new_figure(8.6, 0.85 + 0.32 * len(results)) as figure:
        height = figure.get_size_inches()[1]
        axes = figure.add_axes((0.2, 0.5 / height, 0.785, 1 - 0.6 / height))
        _rows(axes, results)
        axes.grid(axis="x")
        for row, result in enumerate(results):
            values = [result.tertiles[group]["ndcg@10"] for group in groups]
            shade = colour(result.role)
            axes.plot([min(values), max(values)], [row, row], color=shade, linewidth=1.6, alpha=0.5)
            for value, marker, fill in zip(values, ("o", "o", "D"), (shade, colour("paper"), shade), strict=True):
                axes.plot(
                    [value],
                    [row],
                    marker,
                    markersize=6.5,
                    markerfacecolor=fill,
                    markeredgecolor=shade,
                    linestyle="none",
                    zorder=3,
                )
        for group, marker, fill in zip(groups, ("o", "o", "D"), ("muted", "paper", "muted"), strict=True):
            axes.plot(
                [],
                [],
                marker,
                color=colour("muted"),
                markerfacecolor=colour(fill),
                linestyle="none",
                markersize=6.5,
                label=group,
            )
        axes.set_xlim(left=0)
        axes.set_xlabel("NDCG@10 on test items", loc="left")
        axes.legend(
            loc="upper right",
            bbox_to_anchor=(1.0, 0.0),
            ncols=3,
            frameon=False,
            handletextpad=0.1,
            borderaxespad=1.4,
            fontsize=9,
        )
        alt = "NDCG@10 of mainstream, middle and niche listeners: " + "; ".join(
            f"{label(r)} " + ", ".join(f"{r.tertiles[group]['ndcg@10']:.3f}" for group in groups) for r in results
        )
        return drawing(figure, "listeners", alt)


def _rows(axes: Axes, results: Sequence[Result]) -> None:
    """One row a model, the first on top."""
    axes.set_yticks(range(len(results)), [label(result) for result in results], color=colour("ink"))
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)


def _ceiling_of_axis(results: Sequence[Result]) -> float:
    highest = max([result.intervals["ndcg@10"][1] for result in results] + [r.test["ndcg@10"] for r in results])
    return highest * 1.1 if highest > 0 else 1.0


def _few_ticks(axes: Axes, last: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5))
    if last == 1:
        axes.set_xticks([1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def name_lines(axes: Axes, names: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its right end; names that would touch are moved apart."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.068
    heights: list[float] = []
    for value, _, _ in sorted(names):
        heights.append(value if not heights else max(value, heights[-1] + gap))
    for height, (value, name, role) in zip(heights, sorted(names), strict=True):
        axes.annotate(
            f"{name}  {value:.3f}",
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colour(role),
            fontsize=9.5,
            annotation_clip=False,
        )
