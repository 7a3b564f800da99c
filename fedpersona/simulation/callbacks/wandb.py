"""A run as Weights & Biases keeps it; needs the package ``wandb``. Offline, unless its environment says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpersona.aggregation import RoundReport
from fedpersona.simulation.callbacks.callback import Callback, end_figures, facts
from fedpersona.simulation.record import RunConfig, RunRecord

__all__ = ["WeightsAndBiases"]

_QUIET = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
}
"""Nothing of the machine, its user or its files goes along; whoever set one of these otherwise is listened to."""


class WeightsAndBiases(Callback):
    """Logs the figures of each round under its number.

    Without WANDB_MODE in the environment nothing is sent: ``wandb sync`` does, when a person wants it.

    Args:
        name: of the run.
        project: that it belongs to.
        folder: in which ``wandb`` makes its own.
    """

    def __init__(self, name: str, project: str, folder: Path) -> None:
        self.name = name
        self.project = project
        self._folder = folder
        self._run: Any = None

    def start(self, config: RunConfig, done: int) -> None:
        """Begin a run; one that goes on says after which round."""
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self.project,
            name=self.name,
            dir=str(self._folder),
            config={**facts(config), "resumed_after_round": done},
            mode=None if "WANDB_MODE" in os.environ else "offline",
            save_code=False,
        )

    def after_round(self, report: RoundReport, figures: Mapping[str, float]) -> None:
        """Log the figures of a round."""
        self._run.log(dict(figures), step=report.round_number)

    def end(self, record: RunRecord) -> None:
        """Note the figures in the end."""
        self._run.summary.update(end_figures(record))
        self._run.finish()

    def interrupt(self, done: int) -> None:
        """Close the run, as one that did not come to its end."""
        if self._run is not None:
            self._run.finish(exit_code=1)
