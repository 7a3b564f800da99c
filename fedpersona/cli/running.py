"""One run from the command line: its folder, its end, and what is printed of it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console

from fedpersona.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fedpersona.simulation import Run, RunConfig
    from fedpersona.simulation.checkpoint import Checkpoint
    from fedpersona.simulation.keeping import Keeping
    from fedpersona.simulation.listening import Listening
    from fedpersona.simulation.record import DataFacts

__all__ = ["Course", "run"]

_INTERRUPTED = 130
"""The exit code of what Ctrl-C stopped, where it can go on."""


@dataclass(frozen=True)
class Course:
    """How a run goes, beside its numbers."""

    logs: tuple[str, ...] = ()
    """Who follows it, as ``NAME[:PLACE]``."""
    seconds: float | None = None
    """Time between checkpoints; None for the default."""
    checkpoint: Checkpoint | None = None
    """To go on from."""
    kept: bool = True
    """Whether it leaves checkpoints, and can be stopped between rounds."""


def run(
    config: RunConfig,
    out: Path | None,
    *,
    as_json: bool,
    listener: int | None,
    show_list: bool,
    recorded: DataFacts | None = None,
    course: Course | None = None,
) -> None:
    """Run, leave the folder, and print what a person or a machine wants to know."""
    from fedpersona.simulation import load_split
    from fedpersona.simulation import simulate as run_experiment
    from fedpersona.simulation.callbacks import make_callback
    from fedpersona.simulation.experiment import create_model
    from fedpersona.simulation.listening import weekly_for
    from fedpersona.simulation.narration import Terminal
    from fedpersona.simulation.output import check_writable, default_folder, write_run

    course = course or Course(kept=False)
    create_model(config)  # wrong names and places show before any work is done
    folder = out or default_folder(config.dataset, config.model_shown)
    if course.checkpoint is None:
        check_writable(folder)
    callbacks = [make_callback(log, folder) for log in course.logs]
    keeping = _keeping(config, folder, course)
    try:
        with Terminal(Console(stderr=True)) as narrator:
            narrator.stage(f"reading {config.dataset}")
            split = load_split(config)
            if recorded is not None and (split.question, split.train.data_hash) != (recorded.question, recorded.hash):
                raise DataError("the data are not those of the recorded run any more", path=config.dataset)
            if listener is not None:
                split.train.person(listener)  # a wrong id shows before any training
            done = run_experiment(config, narrator, split, callbacks=callbacks, keeping=keeping)
            listening = weekly_for(done, listener, date.today()) if show_list else None
            narrator.stage("writing the report")
            write_run(done, folder, keeping=keeping)
    except KeyboardInterrupt:
        if keeping is None or not keeping.kept:
            raise
        _stopped(folder, course)
    if as_json:
        sys.stdout.write(json.dumps(_summary(done, folder, listening)) + "\n")
    else:
        _print_run(done, folder, listening)


def _keeping(config: RunConfig, folder: Path, course: Course) -> Keeping | None:
    from fedpersona.simulation.keeping import SECONDS, Keeping

    if config.epsilon is not None:
        if course.seconds is not None:
            raise ConfigError(
                "--checkpoint-seconds is not for a run with an epsilon: rounds that are run again draw other noise, "
                "and would release more than was promised"
            )
        return None
    if not course.kept:
        return None
    return Keeping(folder, SECONDS if course.seconds is None else course.seconds, course.checkpoint)


def _stopped(folder: Path, course: Course) -> NoReturn:
    """Say how the run is gone on with, and leave."""
    from fedpersona.simulation.checkpoint import last_round
    from fedpersona.simulation.narration import printable

    words = [
        "fedpersona",
        "simulate",
        "--resume",
        str(folder),
        *(word for log in course.logs for word in ("--log", log)),
    ]
    console = Console(stderr=True, soft_wrap=True)
    for line in (f"stopped; round {last_round(folder)} is kept. Go on with:", f"  {shlex.join(words)}"):
        console.print(printable(line), markup=False, highlight=False)
    raise SystemExit(_INTERRUPTED)


def _print_run(run: Run, folder: Path, listening: Listening | None) -> None:
    from fedpersona.simulation.show import ResultRow, metrics_table, weekly_table

    console = Console(width=100) if not sys.stdout.isatty() else Console()
    data = run.record.data
    rows = [
        ResultRow(
            name=result.name,
            role=result.role,
            metrics={**result.test, **result.discovery},
            intervals=result.intervals,
            rounds=result.rounds,
            bytes_up=result.bytes_up,
            seconds=result.seconds,
        )
        for result in run.record.results
    ]
    facts = f"{run.record.devices:,} devices, {data.items:,} {data.kind}s; measured on what was held back"
    console.print(f"\n{data.name}: {facts}", markup=False)
    console.print(metrics_table(rows))
    if run.record.privacy is not None:
        from fedpersona.simulation.report.promise import in_short

        console.print(f"{in_short(run.record.privacy)}\n", markup=False, highlight=False)
    if listening is not None:
        year, week = listening.week
        console.print(weekly_table(listening.picks, run.split.catalogue, f"Listener {listening.person_id}"))
        console.print(f"Week {week} of {year}: nothing on it was ever played by this listener.\n")
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True, markup=False, highlight=False)


def _summary(run: Run, folder: Path, listening: Listening | None) -> dict[str, Any]:
    record, result = run.record, run.record.federated
    catalogue = run.split.catalogue
    summary: dict[str, Any] = {
        "dataset": record.data.name,
        "model": record.config.model,
        "seed": record.config.seed,
        "metrics": {"val": result.val, "test": {**result.test, **result.discovery}, "intervals": result.intervals},
        "serving": {"recency": result.serving.recency, "discount": result.serving.discount},
        "rounds": result.rounds,
        "bytes_up_per_device": result.bytes_up,
        "bytes_down_per_device": result.bytes_down,
        "floor": next(r.test for r in record.results if r.role == "floor"),
        "ceilings": {r.name: r.test for r in record.results if r.role == "ceiling"},
        "sampled_99": result.sampled,
        "tertiles": result.tertiles,
        "model_hash": record.model_hash,
        "seconds": record.seconds,
        "run": str(folder),
    }
    if record.privacy is not None:
        summary["privacy"] = record.privacy.model_dump()
    if listening is not None:
        summary["listener"] = {
            "id": listening.person_id,
            "week": "{}-W{:02d}".format(*listening.week),
            "list": [
                {"item": catalogue.ids[p.row], "title": catalogue.label(p.row), "kind": p.kind, "reason": p.reason}
                for p in listening.picks
            ],
        }
    return summary
