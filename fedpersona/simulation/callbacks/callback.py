"""The protocol of those who follow a run, and what they are told: aggregates over devices, never anyone's history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fedpersona.aggregation import RoundReport
from fedpersona.errors import InputError
from fedpersona.simulation.narration import Narrator, Silence
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["Callback", "Callbacks", "facts", "round_figures"]

Fact = str | int | float | bool | None


class Callback:
    """Follows a run. Each method does nothing by default: take those you need.

    They are called from the thread of the run, one after another. One that raises is noted once and called no more;
    the run goes on. Rounds can take a millisecond: collect what they say, and write it from time to time.
    """

    def start(self, config: RunConfig, done: int) -> None:
        """Before the first round.

        Args:
            config: of the run.
            done: rounds that an earlier process did, where the run goes on from a checkpoint. Rounds after these
                may have been told of already: they are told of again, with the same figures.
        """

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """After each round, with :func:`round_figures` of its report."""

    def keep(self) -> None:
        """Before a checkpoint is left: write what was collected, a run that goes on tells of these rounds no more."""

    def end(self, record: RunRecord) -> None:
        """After all is measured."""

    def interrupt(self, done: int) -> None:
        """The run ends early after so many rounds: stopped, or by an error."""


class Callbacks:
    """Tells each of many, and goes on without those that fail."""

    def __init__(self, callbacks: Sequence[Callback] = (), narrator: Narrator | None = None) -> None:
        self._waiting = list(callbacks)
        self._callbacks: list[Callback] = []
        self._narrator = narrator or Silence()
        self._done = 0

    def start(self, config: RunConfig, done: int) -> None:
        """Tell of the beginning.

        Raises:
            InputError: one of them cannot begin, and a person can mend it: no round has run yet.
        """
        self._done = done
        for callback in self._waiting:
            try:
                callback.start(config, done)
                self._callbacks.append(callback)
            except InputError:
                raise
            except Exception as error:
                self._note(callback, error)

    def after_round(self, report: RoundReport, measured: float | None) -> None:
        """Tell of a round; ``measured`` is NDCG@10 on validation items, where it was measured."""
        self._done = report.round_number
        if self._callbacks:
            figures = round_figures(report, measured)
            self._tell(lambda callback: callback.after_round(report, figures))

    def keep(self) -> None:
        """Tell of a checkpoint."""
        self._tell(lambda callback: callback.keep())

    def end(self, record: RunRecord) -> None:
        """Tell of the end."""
        self._tell(lambda callback: callback.end(record))

    def interrupt(self) -> None:
        """Tell those of an early end who were told of the beginning."""
        self._tell(lambda callback: callback.interrupt(self._done))

    def _tell(self, call: Callable[[Callback], None]) -> None:
        for callback in list(self._callbacks):
            try:
                call(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                self._note(callback, error)

    def _note(self, callback: Callback, error: Exception) -> None:
        self._narrator.note(
            f"{type(callback).__name__} failed and is told nothing more: {type(error).__name__}: {error}"
        )


def round_figures(report: RoundReport, measured: float | None = None) -> dict[str, float]:
    """Return what there is to tell of a round, by name; all of it is over devices."""
    seconds = report.seconds_collecting + report.seconds_applying
    figures = {
        "devices": float(report.answered),
        "devices_per_second": report.answered / seconds if seconds > 0 else 0.0,
        "bytes_up": float(report.bytes_up),
        "bytes_down": float(report.bytes_down),
        "seconds": seconds,
        **{f"devices_{name}": value for name, value in report.metrics.items()},
    }
    if measured is not None:
        figures["val_ndcg@10"] = measured
    return figures


def end_figures(record: RunRecord) -> dict[str, float]:
    """Return the figures of the federated model in the end, by name."""
    result = record.federated
    figures = {f"test_{name}": value for name, value in result.test.items()}
    return figures | {f"lists_{name}": value for name, value in result.discovery.items()}


def facts(config: RunConfig) -> dict[str, Fact]:
    """Return the configuration flat, by name, without folders of this machine and addresses of a cluster."""
    whole = config.model_dump(exclude={"data", "cluster", "dataset", "model", "settings", "behaviour", "epsilons"})
    nested: dict[str, Any] = {
        "dataset": PurePath(config.dataset).name,
        "model": config.model_shown,
        **{f"set.{name}": value for name, value in config.settings.items()},
        **config.behaviour.model_dump(),
    }
    return {name: _plain(value) for name, value in (nested | whole).items()}


def _plain(value: Any) -> Fact:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
