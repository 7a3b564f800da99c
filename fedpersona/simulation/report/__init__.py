"""The report of a run: what was learned, how good it is, and how to know, in Markdown and as one HTML page."""

from __future__ import annotations

from pathlib import Path

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.record import RunRecord
from fedpersona.simulation.report.contents import contents
from fedpersona.simulation.report.html import html
from fedpersona.simulation.report.markdown import markdown
from fedpersona.taste import Shared

__all__ = ["write_report"]


def write_report(record: RunRecord, shared: Shared, catalogue: Catalogue, folder: Path) -> None:
    """Write ``report.md``, ``report.html`` and the plots of the former as SVG files.

    The same record and model give the same files, byte for byte.

    Args:
        record: the run.
        shared: the model it ended with, for the taste map.
        catalogue: names and tags of the model's items.
        folder: an existing folder; files of these names are replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    report = contents(record, shared, catalogue)
    for drawing in report.drawings:
        (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    (folder / "report.md").write_text(markdown(report), encoding="utf-8")
    (folder / "report.html").write_text(html(report), encoding="utf-8")
