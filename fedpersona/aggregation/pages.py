"""How the server's pages are drawn: one style for all, no program in them, and headers that keep it so."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

__all__ = ["HEADERS", "Pages", "counted", "day", "listed", "moment"]

_STYLE = (Path(__file__).parent / "pages.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "browsing-topics=(), camera=(), geolocation=(), microphone=()",
}
"""Of every page: it may use its own style, which is in it, and nothing else; no other page may hold it in a frame."""


class Pages:
    """Draws the templates of one folder, each within ``templates/page.html``.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._templates = Environment(
            loader=FileSystemLoader((folder, Path(__file__).parent / "templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            refresh=None,  # seconds; a page says so
            style=Markup(_STYLE),  # noqa: S704 - our own file, the one whose hash is in the headers
            counted=counted,
            day=day,
            moment=moment,
            listed=listed,
        )

    def draw(self, template: str, *, status: int = 200, cache: str = "no-store", **values: Any) -> HTMLResponse:
        """Return a page; every value that is put into it is escaped."""
        page = self._templates.get_template(template).render(**values)
        return HTMLResponse(page, status, headers={**HEADERS, "Cache-Control": cache})


def counted(number: int, noun: str) -> str:
    """Return ``1 device`` or ``2,345 devices``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join(", ".join(words).rsplit(", ", 1))


def day(at: float) -> str:
    """Return ``24 November 2026`` for Unix seconds, in UTC."""
    found = datetime.fromtimestamp(at, UTC)
    return f"{found.day} {found:%B %Y}"


def moment(at: float) -> str:
    """Return ``24 Nov, 20:13`` for Unix seconds, in UTC."""
    found = datetime.fromtimestamp(at, UTC)
    return f"{found.day} {found:%b, %H:%M}"
