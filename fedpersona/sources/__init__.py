"""Readers of real listening histories, one a format: ``read`` takes a file, a folder or a zip that a service gave.

Names load when they are first used: the vault needs ``Listen`` alone, and nothing that opens archives.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedpersona.sources.detect import FORMATS
    from fedpersona.sources.format import Format, Skipped
    from fedpersona.sources.listen import Listen
    from fedpersona.sources.reading import Reading, read
    from fedpersona.sources.summary import Summary

__all__ = ["FORMATS", "Format", "Listen", "Reading", "Skipped", "Summary", "read"]

_HOMES = {
    "FORMATS": "fedpersona.sources.detect",
    "Format": "fedpersona.sources.format",
    "Listen": "fedpersona.sources.listen",
    "Reading": "fedpersona.sources.reading",
    "Skipped": "fedpersona.sources.format",
    "Summary": "fedpersona.sources.summary",
    "read": "fedpersona.sources.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
