"""A run as MLflow keeps it; needs the package ``mlflow-skinny`` (or ``mlflow``)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.callbacks.callback import Callback, end_figures, facts
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["MLflow"]

_EXPERIMENT = "fedpersona"
_SECONDS = 2.0
_MOST_METRICS, _MOST_PARAMS = 1000, 100
"""Of one request, by MLflow's own limits."""
_LONGEST = 500


class MLflow(Callback):
    """Writes parameters and metrics; without an address, and none in the environment, into a file beside the run.

    Metrics go in batches: a request a round would take longer than a round.

    Args:
        name: of the run.
        uri: where to; by default MLFLOW_TRACKING_URI, or ``mlflow.db`` in ``folder``.
        folder: of the runs.
    """

    def __init__(self, name: str, uri: str | None, folder: Path) -> None:
        self.name = name
        self._local = uri is None and not os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        self._folder = folder
        self._client: Any = None
        self._run = ""
        self._metrics: list[Any] = []
        self._sent = 0.0

    def start(self, config: RunConfig, done: int) -> None:
        """Begin a run; one that goes on says after which round."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        self._folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=self.uri)
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        if experiment is not None:
            number = experiment.experiment_id
        else:
            artifacts = (self._folder.absolute() / "mlflow").as_uri() if self._local else None
            number = self._client.create_experiment(_EXPERIMENT, artifact_location=artifacts)
        self._run = self._client.create_run(number, run_name=self.name).info.run_id
        params = [Param(_allowed(name), str(value)[:_LONGEST]) for name, value in facts(config).items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + _MOST_PARAMS])
        if done:
            self._client.log_batch(self._run, tags=[RunTag("resumed_after_round", str(done))])
        self._sent = time.monotonic()

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """Collect the figures of a round, and send them from time to time."""
        self._add(figures, report.round_number)
        if time.monotonic() - self._sent > _SECONDS or len(self._metrics) > 10 * _MOST_METRICS:
            self._send()

    def keep(self) -> None:
        """Send what was collected."""
        self._send()

    def end(self, record: RunRecord) -> None:
        """Send the figures in the end."""
        self._add(end_figures(record), len(record.rounds))
        self._send()
        self._client.set_terminated(self._run, "FINISHED")

    def interrupt(self, done: int) -> None:
        """Send what is left."""
        if self._run:
            self._send()
            self._client.set_terminated(self._run, "KILLED")

    def _add(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._metrics += [Metric(_allowed(name), value, now, step) for name, value in figures.items()]

    def _send(self) -> None:
        for first in range(0, len(self._metrics), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=self._metrics[first : first + _MOST_METRICS])
        self._metrics, self._sent = [], time.monotonic()


def _allowed(name: str) -> str:
    """Return a name that MLflow takes: it knows no ``@``."""
    return name.replace("@", "_at_")
