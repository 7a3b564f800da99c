"""What a report is made of, whether it becomes Markdown or HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fedpersona.simulation.report.theme import Drawing

__all__ = ["Block", "Contents", "Definitions", "Figure", "Paragraph", "Section", "Table"]


@dataclass(frozen=True)
class Paragraph:
    """Plain words."""

    text: str
    lead: bool = False
    """Whether they say what the section comes to."""


@dataclass(frozen=True)
class Table:
    """A table: the first column holds names, the others figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: tuple[int, ...] = ()
    """Rows to set apart."""
    words: bool = False
    """Whether the other columns hold words, and are read from the left."""


@dataclass(frozen=True)
class Figure:
    """A plot with what to see in it."""

    drawing: Drawing
    caption: str


@dataclass(frozen=True)
class Definitions:
    """Terms and what they mean."""

    terms: tuple[tuple[str, str], ...]


Block: TypeAlias = Paragraph | Table | Figure | Definitions


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Contents:
    """A whole report."""

    title: str
    headline: str
    comparison: str
    glance: tuple[tuple[str, str, str], ...]
    """Few figures to see first: value, what it is, and a remark."""
    sections: tuple[Section, ...]
    footer: str

    @property
    def drawings(self) -> list[Drawing]:
        """All plots, in order."""
        return [block.drawing for section in self.sections for block in section.blocks if isinstance(block, Figure)]
