"""Colours by role, once for light and once for dark, and how a drawing becomes SVG that follows either."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "GROUPS", "SCALE", "Drawing", "colour", "css_variables", "drawing", "new_figure", "plain"]

COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#fdfdfc", "#141518"),
    "ink": ("#1c1d21", "#ececef"),
    "muted": ("#656974", "#a1a6b2"),
    "line": ("#dfe0e4", "#30333b"),
    "floor": ("#b3632a", "#e89a62"),
    "federated": ("#2f55cc", "#8fa9ff"),
    "ceiling": ("#23806a", "#5fc9ab"),
    "other": ("#c3c6cd", "#4a4e58"),
    "group-1": ("#3f6ad8", "#82a2ff"),
    "group-2": ("#dd7a2c", "#ffae6b"),
    "group-3": ("#2d986a", "#5ed29f"),
    "group-4": ("#b3449d", "#ee8cd9"),
    "group-5": ("#c43d3d", "#ff8480"),
    "group-6": ("#7959cf", "#b99eff"),
    "group-7": ("#8b6e20", "#dcbc55"),
    "group-8": ("#1694a7", "#58d4e7"),
    "scale-1": ("#cdd7f0", "#2d3a61"),
    "scale-2": ("#9fb3e6", "#425796"),
    "scale-3": ("#6d89d6", "#6380cb"),
    "scale-4": ("#3d5bb9", "#93acf2"),
    "scale-5": ("#1c2f78", "#d3deff"),
}
"""Role to (light, dark). No light colour stands for two roles: that is how a drawing's colours are told apart."""

GROUPS = tuple(role for role in COLOURS if role.startswith("group-"))
"""Colours that set groups apart."""
SCALE = tuple(role for role in COLOURS if role.startswith("scale-"))
"""Colours from little to much."""

_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
_HALO = f"paint-order: stroke; stroke: {COLOURS['paper'][0]}; stroke-width: 3px; stroke-linejoin: round; "
"""Keeps names on a map readable over its points."""
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+"
)


@dataclass(frozen=True)
class Drawing:
    """A finished drawing."""

    name: str
    """File name without its ending."""
    alt: str
    """What it shows, for those who do not see it."""
    svg: str
    """A whole SVG file on light paper."""
    inline: str
    """The same for a page that defines the colours: see ``css_variables``."""


def colour(role: str) -> str:
    """Return the colour of a role as a drawing carries it."""
    return COLOURS[role][0]


def css_variables(dark: bool) -> str:
    """Return the declarations of all colours as CSS variables."""
    return " ".join(f"--{role}: {pair[dark]};" for role, pair in COLOURS.items())


def plain(text: str, longest: int | None = None) -> str:
    """Return a title fit for a page: one line, nothing unprintable, cut with an ellipsis where it is too long."""
    text = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return text if longest is None or len(text) <= longest else text[: longest - 1].rstrip() + "…"


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure, in inches, that takes the theme; nothing global changes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedpersona",
        "font.family": ["DejaVu Sans"],
        "font.size": 9.5,
        "text.color": colour("ink"),
        "text.parse_math": False,  # a dollar in an artist's name is a dollar
        "axes.edgecolor": colour("line"),
        "axes.labelcolor": colour("muted"),
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.axisbelow": True,
        "xtick.color": colour("line"),
        "ytick.color": colour("line"),
        "xtick.labelcolor": colour("muted"),
        "ytick.labelcolor": colour("muted"),
        "grid.color": colour("line"),
        "grid.linewidth": 0.7,
        "figure.facecolor": colour("paper"),
    }
    with warnings.catch_warnings(), mpl.rc_context(settings):
        # A browser has the glyph that the font used for measuring lacks.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support")
        yield Figure(figsize=(width, height))


def drawing(figure: Figure, name: str, alt: str, tooltips: dict[str, list[str]] | None = None) -> Drawing:
    """Turn a figure into SVG.

    Args:
        figure: the figure; every colour in it must be one of ``COLOURS``.
        name: what its file is called.
        alt: what it shows, for those who do not see it.
        tooltips: for scatter plots with a ``gid``, a text for each point in order.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    raw = re.sub(r"<metadata>.*?</metadata>\s*", "", file.getvalue(), flags=re.DOTALL)
    raw = re.sub(r"\s*<!--.*?-->", "", raw, flags=re.DOTALL)
    raw = re.sub(r'(<g id="label\d+">.*?<text style=")', rf"\1{_HALO}", raw, flags=re.DOTALL)
    raw = _in_tags(r"(font: (?:\w+ )?[\d.]+px |font-family: )[^;\"]+", rf"\1{_FONTS}", raw)
    inline = raw[raw.index("<svg") :]
    inline = _in_tags(r'( id="|"#|url\(#)', rf"\1{name}-", inline)
    inline = re.sub(r'(<svg [^>]*?)width="[\d.]+pt" height="[\d.]+pt"', r"\1", inline, count=1)
    inline = _in_tags(r"#[0-9a-f]{6}\b", _variable, inline)
    raw, inline = (_described(svg, alt) for svg in (raw, inline))
    for gid, texts in (tooltips or {}).items():
        inline = _with_tooltips(inline, f"{name}-{gid}", texts)
    return Drawing(name, alt, raw, inline)


def _in_tags(pattern: str, replacement: str | Callable[[re.Match[str]], str], svg: str) -> str:
    """Replace inside tags only: words between them come from data, and stay as they are."""
    return re.sub(r"<[^>]*>", lambda tag: re.sub(pattern, replacement, tag.group()), svg)


def _described(svg: str, alt: str) -> str:
    label = f'<svg role="img" aria-label="{html.escape(alt)}" '
    return svg.replace("<svg ", label, 1)


_ROLES = {light: role for role, (light, _) in COLOURS.items()}


def _variable(match: re.Match[str]) -> str:
    role = _ROLES.get(match.group())
    return match.group() if role is None else f"var(--{role})"


def _with_tooltips(svg: str, gid: str, texts: list[str]) -> str:
    """Give the n-th point of one scatter plot the n-th text, which browsers show on hovering."""
    begin = svg.index(f'<g id="{gid}">')
    following = svg.find('<g id="', begin + 1)
    end = following if following >= 0 else len(svg)
    remaining = iter(texts)

    def titled(match: re.Match[str]) -> str:
        return f"{match.group(1)}><title>{html.escape(plain(next(remaining, '')))}</title></use>"

    return svg[:begin] + re.sub(r"(<use [^>]*?)/>", titled, svg[begin:end]) + svg[end:]
