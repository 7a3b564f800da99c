"""The public vocabulary: which items there are, and which row of an item table each one has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fedpersona.errors import DataError

__all__ = ["Catalogue"]


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Item ids by row, with the titles, artists and tags that a person reads.

    A catalogue is public: it holds nothing about anyone. Row ``r`` of every item table is item ``ids[r]``.
    """

    ids: tuple[str, ...]
    """One id an item, unique."""
    titles: tuple[str, ...]
    """One title an item; of a catalogue of artists, the artist's name."""
    artists: tuple[str, ...]
    """One artist an item: what the weekly list caps. Empty strings where it is unknown."""
    tags: tuple[tuple[str, ...], ...]
    """The tags of each item, most telling first; empty where there are none."""
    kind: str = "track"
    """What an item is, in the singular: ``track``, ``artist``, ``film``, ``item``."""
    links: tuple[tuple[str, ...], ...] = ()
    """What others call each item, to match histories by: ``mbid:…`` (MusicBrainz) and ``spotify:track:…``.

    One tuple an item, or none at all where nothing is known.
    """

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError("a catalogue needs at least one item")
        for name, column in (("titles", self.titles), ("artists", self.artists), ("tags", self.tags)):
            if len(column) != len(self.ids):
                raise DataError(f"{len(self.ids)} ids but {len(column)} {name}", place="catalogue")
        if self.links and len(self.links) != len(self.ids):
            raise DataError(f"{len(self.ids)} ids but {len(self.links)} links", place="catalogue")
        if len(self._rows) != len(self.ids):
            raise DataError("an item id appears twice", place="catalogue")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Catalogue({len(self):,} {self.kind}s, version {self.version[:12]})"

    @classmethod
    def create(
        cls,
        ids: Iterable[str],
        *,
        titles: Sequence[str] | None = None,
        artists: Sequence[str] | None = None,
        tags: Sequence[Iterable[str]] | None = None,
        kind: str = "item",
        links: Sequence[Iterable[str]] | None = None,
    ) -> Catalogue:
        """Make a catalogue; titles default to ``kind`` and id, artists, tags and links to nothing."""
        ids = tuple(ids)
        return cls(
            ids=ids,
            titles=tuple(titles) if titles is not None else tuple(f"{kind} {i}" for i in ids),
            artists=tuple(artists) if artists is not None else ("",) * len(ids),
            tags=tuple(tuple(t) for t in tags) if tags is not None else ((),) * len(ids),
            kind=kind,
            links=tuple(tuple(names) for names in links) if links is not None else (),
        )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.ids)}

    @cached_property
    def version(self) -> str:
        """SHA-256 over the kind and every item's id, title, artist, tags and links, in hexadecimal."""
        digest = hashlib.sha256(f"fedpersona catalogue 1\x1d{self.kind}\x1d".encode())
        for item, title, artist, tags in zip(self.ids, self.titles, self.artists, self.tags, strict=True):
            digest.update("\x1f".join((item, title, artist, *tags)).encode() + b"\x1e")
        for names in self.links:
            digest.update("\x1f".join(names).encode() + b"\x1d")
        return digest.hexdigest()

    def row(self, item: str) -> int:
        """Return the row of an item id.

        Raises:
            DataError: the catalogue does not have it.
        """
        try:
            return self._rows[item]
        except KeyError:
            raise DataError(f"item '{item}' is not in the catalogue of {len(self):,} {self.kind}s") from None

    def find(self, item: str) -> int | None:
        """Return the row of an item id, None where the catalogue does not have it."""
        return self._rows.get(item)

    def label(self, row: int) -> str:
        """Return what a person calls the item: ``Title — Artist``, or the title where it has no other artist."""
        title, artist = self.titles[row], self.artists[row]
        return title if artist in ("", title) else f"{title} — {artist}"
