"""From ``--log NAME[:PLACE]`` to a callback, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from fedpersona.errors import ConfigError, UnknownName
from fedpersona.simulation.callbacks.callback import Callback

__all__ = ["LOGS", "make_callback"]


def _lines(place: str, folder: Path) -> Callback:
    from fedpersona.simulation.callbacks.json_lines import JsonLines

    return JsonLines(Path(place or f"{folder}.jsonl"))


def _table(place: str, folder: Path) -> Callback:
    from fedpersona.simulation.callbacks.csv_table import CsvTable

    return CsvTable(Path(place or f"{folder}.csv"))


def _tensorboard(place: str, folder: Path) -> Callback:
    _check("tensorboard", "tensorboard")
    from fedpersona.simulation.callbacks.tensorboard import TensorBoard

    return TensorBoard(Path(place or f"{folder}.tensorboard"))


def _mlflow(place: str, folder: Path) -> Callback:
    _check("mlflow", "mlflow")
    from fedpersona.simulation.callbacks.mlflow import MLflow

    return MLflow(folder.name, place or None, folder.parent)


def _wandb(place: str, folder: Path) -> Callback:
    _check("wandb", "wandb")
    from fedpersona.simulation.callbacks.wandb import WeightsAndBiases

    return WeightsAndBiases(folder.name, place or "fedpersona", folder.parent)


LOGS: Mapping[str, Callable[[str, Path], Callback]] = {
    "jsonl": _lines,
    "csv": _table,
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""What makes each, from its place and the folder of the run; an empty place is beside that folder."""


def make_callback(spec: str, folder: Path) -> Callback:
    """Make the callback of ``NAME[:PLACE]``.

    Args:
        spec: as it was asked for.
        folder: of the run: what is written without a place lies beside it.

    Raises:
        UnknownName: there is no such callback.
        ConfigError: the package that it needs is not installed.
    """
    name, _, place = spec.partition(":")
    if name not in LOGS:
        raise UnknownName("log", name, tuple(LOGS))
    return LOGS[name](place, folder)


def _check(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(f"--log {extra} needs {package}, which is not installed: pip install 'fedpersona[{extra}]'")
