"""The plot of accuracy against ε."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpersona.simulation.record import NO_NOISE, NOISY, Privacy, RunRecord
from fedpersona.simulation.report.plots import name_lines
from fedpersona.simulation.report.theme import Drawing, colour, drawing, new_figure
from fedpersona.simulation.report.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_privacy"]


def draw_privacy(record: RunRecord, privacy: Privacy) -> Drawing:
    """Draw NDCG@10 against ε, between horizontal lines for what was not protected."""
    unprotected = [r for r in record.results if r.name.endswith(NO_NOISE) or (r.role == "floor" and r.name != NOISY)]
    curve = privacy.curve
    epsilons, values = [p.epsilon for p in curve], [p.ndcg for p in curve]
    with new_figure(8.6, 3.9) as figure:
        axes = figure.add_axes((0.05, 0.14, 0.725, 0.82))
        names = []
        for result in unprotected:
            low, high = result.intervals["ndcg@10"]
            axes.axhspan(low, high, color=colour(result.role), alpha=0.12, linewidth=0)
            axes.axhline(result.test["ndcg@10"], color=colour(result.role), linewidth=1.4)
            names.append((result.test["ndcg@10"], label(result), result.role))
        _popularity(axes, privacy)
        for point in curve:
            axes.plot([point.epsilon] * 2, point.interval, color=colour("federated"), linewidth=1.2, zorder=3)
        axes.plot(
            epsilons, values, "-o", color=colour("federated"), linewidth=2.2, markersize=5.5, zorder=4, clip_on=False
        )
        own = next(point for point in curve if point.epsilon == privacy.epsilon)
        if len(curve) > 1:
            axes.plot([own.epsilon], [own.ndcg], "o", color=colour("federated"), markersize=9, zorder=5, clip_on=False)
        names.append((curve[-1].ndcg, f"{record.federated.name}, ε = {curve[-1].epsilon:g}", "federated"))
        if curve[-1].popularity is not None:
            names.append((curve[-1].popularity, NOISY, "floor"))
        _scale(axes, epsilons)
        highest = max([p.interval[1] for p in curve] + [r.intervals["ndcg@10"][1] for r in unprotected])
        axes.set_ylim(0, highest * 1.1 if highest > 0 else 1.0)
        axes.grid(axis="y")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("ε   (← more private)")
        name_lines(axes, names)
        alt = (
            "NDCG@10 against epsilon: "
            + ", ".join(f"{p.ndcg:.3f} at {p.epsilon:g}" for p in curve)
            + "; unprotected "
            + ", ".join(f"{label(r)} {r.test['ndcg@10']:.3f}" for r in unprotected)
        )
        return drawing(figure, "privacy", alt)


def _popularity(axes: Axes, privacy: Privacy) -> None:
    """Draw popularity under the same promises, dashed: what a list for everyone keeps."""
    points = [(p.epsilon, p.popularity) for p in privacy.curve if p.popularity is not None]
    if points:
        epsilons, values = [e for e, _ in points], [v for _, v in points]
        axes.plot(epsilons, values, "--o", color=colour("floor"), linewidth=1.4, markersize=3.5, zorder=3)


def _scale(axes: Axes, epsilons: list[float]) -> None:
    """Let equal factors of ε be equal steps, with a tick at every point."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    margin = 1.12 if len(epsilons) > 1 else 1.5
    axes.set_xlim(epsilons[0] / margin, epsilons[-1] * margin)
    axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
