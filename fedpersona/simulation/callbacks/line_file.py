"""A text file that grows by a line a round, and is cut back where a run goes on from an earlier round."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fedpersona.errors import OutputError

__all__ = ["LineFile"]

_SECONDS = 1.0


class LineFile:
    """Lines that are on the disk a second later, so that a person can watch the file grow.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[str] = []
        self._wrote = time.monotonic()

    def begin(self, kept: Callable[[str], bool] | None) -> None:
        """Make the file, or keep those of its lines of which ``kept`` is true; None for a file that must be new.

        Raises:
            OutputError: a new one is there already.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if kept is None or not self.path.exists():
            try:
                self.path.open("x").close()
            except FileExistsError:
                raise OutputError(f"{self.path}: is there already; name another file") from None
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(line for line in lines if line.endswith("\n") and kept(line)), encoding="utf-8")
        partial.replace(self.path)

    def add(self, line: str) -> None:
        """Add a line, without its end."""
        self._lines.append(line)
        if time.monotonic() - self._wrote > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._lines:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write("\n".join([*self._lines, ""]))
        self._lines, self._wrote = [], time.monotonic()
