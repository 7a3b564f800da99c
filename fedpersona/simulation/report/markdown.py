"""A report as Markdown, next to its plots as SVG files."""

from __future__ import annotations

from collections.abc import Iterable

from fedpersona.simulation.report.blocks import Block, Contents, Definitions, Figure, Paragraph, Table

__all__ = ["markdown"]


def markdown(report: Contents) -> str:
    """Return the report; plots are referred to as ``<name>.svg`` in the same folder."""
    lines = [f"# {_escaped(report.title)}", "", f"**{_escaped(report.headline)}** {_escaped(report.comparison)}", ""]
    for section in report.sections:
        lines += [f"## {_escaped(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join([*lines, "---", "", _escaped(report.footer), ""])


def _block(block: Block) -> Iterable[str]:
    match block:
        case Paragraph(text, lead):
            return [f"**{_escaped(text)}**" if lead else _escaped(text)]
        case Figure(drawing, caption):
            return [f"![{_escaped(drawing.alt)}]({drawing.name}.svg)", "", f"*{_escaped(caption)}*"]
        case Definitions(terms):
            return [f"- **{_escaped(term)}** {_escaped(meaning)}" for term, meaning in terms]
        case Table():
            return _table(block)


def _table(table: Table) -> list[str]:
    align = ["---" if place == 0 or table.words else "---:" for place in range(len(table.columns))]
    rows = [
        _row(f"**{_escaped(cell)}**" if number in table.strong else _escaped(cell) for cell in cells)
        for number, cells in enumerate(table.rows)
    ]
    return [_row(map(_escaped, table.columns)), _row(align), *rows]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return text
