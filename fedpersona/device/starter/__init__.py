"""Well-known recordings that a device shows before a server's catalogue arrives, and nothing more.

Written by hand for this project, of facts alone: artist, title, and three to five tags of genre, mood, language or
country, and decade. No chart, service or database was copied. The order is a rough one of how well known they are,
in five steps, mixed within each step. It is no measure of anything: which songs stand for the world's music is a
matter of taste. ``tracks.tsv`` holds them, one a line: artist, title, tags with commas between.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from importlib.resources import files

from fedpersona.catalogue import Catalogue

__all__ = ["catalogue"]


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Return the starter catalogue, of kind ``track``, with ids ``starter:<artist>-<title>``. Read once."""
    text = files(__name__).joinpath("tracks.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines()]
    return Catalogue.create(
        [f"starter:{_slug(artist)}-{_slug(title)}" for artist, title, _ in rows],
        titles=[title for _, title, _ in rows],
        artists=[artist for artist, _, _ in rows],
        tags=[tags.split(",") for _, _, tags in rows],
        kind="track",
    )


def _slug(name: str) -> str:
    """Return a name as it stands in an id: lower case, without accents, words joined by hyphens."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return re.sub(r"[^\w]+", "-", "".join(char for char in plain if not unicodedata.combining(char))).strip("-")
