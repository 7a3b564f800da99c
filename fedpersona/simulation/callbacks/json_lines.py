"""A JSON object a line: the configuration, each round, and the figures in the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.callbacks.callback import Callback, end_figures, facts
from fedpersona.simulation.callbacks.line_file import LineFile
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["JsonLines"]


class JsonLines(Callback):
    """Writes a file of lines, each with an ``event``: ``start``, ``round``, ``end`` or ``interrupt``."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def start(self, config: RunConfig, done: int) -> None:
        """Begin the file, or go on with it after the rounds that are done."""
        self._file.begin((lambda line: _up_to(line, done)) if done else None)
        self._add("start", rounds_done=done, config=facts(config))
        self._file.flush()

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """Add the round."""
        self._add("round", round=report.round_number, **figures)

    def keep(self) -> None:
        """Write what was collected."""
        self._file.flush()

    def end(self, record: RunRecord) -> None:
        """Add the figures."""
        self._add("end", model_hash=record.model_hash, **end_figures(record))
        self._file.flush()

    def interrupt(self, done: int) -> None:
        """Say so."""
        self._add("interrupt", rounds_done=done)
        self._file.flush()

    def _add(self, event: str, **values: object) -> None:
        self._file.add(json.dumps({"event": event, **values}))


def _up_to(line: str, done: int) -> bool:
    """Return whether a line is not of a round that is run again."""
    event = json.loads(line)
    return bool(event["event"] != "round" or event["round"] <= done)
