"""Figures of the rounds as TensorBoard shows them; needs the package ``tensorboard``, no other framework."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.callbacks.callback import Callback, end_figures, facts
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["TensorBoard"]

_QUEUE = 1000
_SECONDS = 2


class TensorBoard(Callback):
    """Writes event files into a folder: a scalar a figure, its step the round.

    A run that goes on marks the session's beginning, so that TensorBoard shows no round twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def start(self, config: RunConfig, done: int) -> None:
        """Begin an event file."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(self.folder), max_queue_size=_QUEUE, flush_secs=_SECONDS)
        if done:
            self._writer.add_event(Event(step=done + 1, session_log=SessionLog(status=SessionLog.START)))
        lines = "\n".join(f"    {name}: {json.dumps(value)}" for name, value in sorted(facts(config).items()))
        self._text("configuration", lines, done)

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """Add the figures of a round."""
        self._scalars({f"round/{name}": value for name, value in figures.items()}, report.round_number)

    def keep(self) -> None:
        """Write what was collected."""
        self._writer.flush()

    def end(self, record: RunRecord) -> None:
        """Add the figures in the end."""
        self._scalars({f"end/{name}": value for name, value in end_figures(record).items()}, len(record.rounds))
        self._writer.close()

    def interrupt(self, done: int) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _scalars(self, figures: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._add(Summary(value=values), step)

    def _text(self, name: str, text: str, step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING
        from tensorboard.plugins.text.metadata import create_summary_metadata

        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata = create_summary_metadata(display_name=name, description="")
        self._add(Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)]), step)

    def _add(self, summary: Any, step: int) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
