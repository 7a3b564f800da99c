"""A report as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from fedpersona.simulation.report.blocks import Contents, Definitions, Figure, Paragraph, Table
from fedpersona.simulation.report.theme import css_variables

__all__ = ["html"]


def html(report: Contents) -> str:
    """Return the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fedpersona.simulation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {
        "paragraph": lambda block: isinstance(block, Paragraph),
        "table": lambda block: isinstance(block, Table),
        "figure": lambda block: isinstance(block, Figure),
        "definitions": lambda block: isinstance(block, Definitions),
    }
    return environment.get_template("page.html.j2").render(
        report=report, light=css_variables(dark=False), dark=css_variables(dark=True)
    )
