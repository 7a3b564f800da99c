"""A row a round, under one line of names: what a spreadsheet opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.callbacks.callback import Callback
from fedpersona.simulation.callbacks.line_file import LineFile
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["CsvTable"]

_COLUMNS = ("devices", "devices_per_second", "bytes_up", "bytes_down", "seconds", "val_ndcg@10")


class CsvTable(Callback):
    """Writes a table of the rounds; the cell of what was not measured is empty."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def start(self, config: RunConfig, done: int) -> None:
        """Begin the table, or go on with it after the rounds that are done."""
        self._file.begin((lambda line: _up_to(line, done)) if done else None)
        if not self._file.path.stat().st_size:
            self._file.add(",".join(("round", *_COLUMNS)))
            self._file.flush()

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """Add the round."""
        cells = (f"{figures[name]:.17g}" if name in figures else "" for name in _COLUMNS)
        self._file.add(",".join((str(report.round_number), *cells)))

    def keep(self) -> None:
        """Write what was collected."""
        self._file.flush()

    def end(self, record: RunRecord) -> None:
        """Write what is left."""
        self._file.flush()

    def interrupt(self, done: int) -> None:
        """Write what is left."""
        self._file.flush()


def _up_to(line: str, done: int) -> bool:
    """Return whether a line is the names, or of a round that is not run again."""
    number = line.partition(",")[0]
    return number == "round" or int(number) <= done
