"""Trainings: a model from its first round to its last, with a checkpoint after each, so that a kill loses one round.

A checkpoint is a file (staged, synced, renamed) and then a row, in one transaction that holds the write lock: killed
between any two steps, the last row names the last whole model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from fedpersona.aggregation.database import Database, checkpoints, devices, trainings
from fedpersona.aggregation.scheduling import History
from fedpersona.aggregation.shelf import Shelf
from fedpersona.errors import ServerError
from fedpersona.taste.model import Shared

__all__ = ["Training", "Trainings"]


@dataclass(frozen=True)
class Training:
    """One training, as it was when it was read."""

    id: int
    model: str
    """Name of the taste model."""
    settings: Mapping[str, Any]
    """Its settings by name."""
    catalogue: str
    """Version of the catalogue."""
    seed: int
    began_at: int
    """Unix seconds."""
    ended_at: int | None
    outcome: str | None
    """``finished`` or ``abandoned``; None while it runs."""
    round_number: int | None
    """The last round that was completed, 0 for the initial model; None before there is a checkpoint."""
    shared_hash: str | None
    """Hash of the model after it."""
    answered: int
    """Most devices that were in the sum of a round."""
    privacy: Mapping[str, Any] | None = None
    """What it promises, as :mod:`fedpersona.aggregation.spending` keeps it; None where its sums have no noise."""


class Trainings:
    """The trainings of a server, one at a time.

    Args:
        database: where they are kept.
        folder: where models are kept: the same as :class:`fedpersona.aggregation.registry.Registry` has.
        clock: gives Unix seconds.
    """

    def __init__(self, database: Database, folder: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._shelf = Shelf(folder)
        self._clock = clock

    def current(self) -> Training | None:
        """Return the training that runs or was interrupted."""
        with self._database.reading() as connection:
            row = connection.execute(_chosen().where(trainings.c.ended_at.is_(None))).one_or_none()
        return None if row is None else _training(row)

    def all(self) -> list[Training]:
        """Return all trainings, the newest first."""
        with self._database.reading() as connection:
            return [_training(row) for row in connection.execute(_chosen().order_by(trainings.c.id.desc()))]

    def history(self, failures: int = 0, failed_at: float | None = None) -> History:
        """Return what :func:`fedpersona.aggregation.scheduling.due` needs to know.

        Args:
            failures: runs that failed in a row, as the supervisor counted.
            failed_at: when the last of them did, Unix seconds.
        """
        with self._database.reading() as connection:
            running = connection.scalar(select(func.count()).where(trainings.c.ended_at.is_(None)))
            finished = connection.execute(
                select(trainings.c.ended_at, trainings.c.newest_device)
                .where(trainings.c.outcome == "finished")
                .order_by(trainings.c.id.desc())  # not by time: a clock may have been wrong
            ).all()
        last = finished[0] if finished else None
        return History(
            running=bool(running),
            finished=len(finished),
            finished_at=last.ended_at if last else None,
            failures=failures,
            failed_at=failed_at,
            newest_device=last.newest_device if last else 0,
        )

    def begin(
        self,
        model: str,
        settings: Mapping[str, Any],
        catalogue: str,
        seed: int,
        privacy: Mapping[str, Any] | None = None,
    ) -> Training:
        """Begin a training.

        Follow it with ``checkpoint`` of the initial model, so that devices can fetch it.

        Raises:
            ServerError: another one has neither finished nor been abandoned.
        """
        row = {"model": model, "settings": dict(settings), "catalogue": catalogue, "seed": seed, "privacy": privacy}
        with self._database.writing() as connection:
            running = connection.scalar(select(trainings.c.id).where(trainings.c.ended_at.is_(None)))
            if running is not None:
                raise ServerError(f"training {running} has not ended: go on with it, or abandon it first")
            added = trainings.insert().values(**row, began_at=int(self._clock()))
            number = connection.scalars(added.returning(trainings.c.id)).one()
            return _training(connection.execute(_chosen().where(trainings.c.id == number)).one())

    def checkpoint(self, training: Training, shared: Shared, answered: int) -> None:
        """Keep the model after a round; it is on disk when this returns, or the last one still counts.

        What the server keeps for itself with it, as an optimiser's moments, lies beside it. The same model again is
        harmless. :meth:`fedpersona.aggregation.registry.Registry.prune` deletes the files of all but the two last.

        Args:
            training: the one that runs.
            shared: the model; its round number is 0 for the initial one, and rises by one from there.
            answered: devices in the sum of the round.

        Raises:
            ServerError: the training has ended, or this is not the round after the last one.
            DiskFull: there is no room; the last checkpoint still counts.
        """
        found = shared.hash()
        staged = self._shelf.stage(shared, dict(training.settings))
        beside = None
        try:
            beside = self._shelf.stage_kept(shared)
            with self._database.writing() as connection:
                if self._is_there(connection, training.id, shared.round_number, found):
                    return
                if beside is not None:
                    beside.place()
                staged.place()
                row = {"training": training.id, "round_number": shared.round_number, "hash": found}
                connection.execute(checkpoints.insert().values(**row, answered=answered, at=int(self._clock())))
        finally:
            for file in (staged, beside):
                if file is not None:
                    file.path.unlink(missing_ok=True)

    def _is_there(self, connection: Connection, number: int, round_number: int, found: str) -> bool:
        """Tell whether this very checkpoint is there; check that it may be added if not."""
        row = connection.execute(_chosen().where(trainings.c.id == number)).one_or_none()
        if row is None or row.ended_at is not None:
            raise ServerError(f"training {number} has ended: no further round of it is kept")
        last = _training(row)
        if (last.round_number, last.shared_hash) == (round_number, found):
            return True
        if last.round_number is not None and round_number != last.round_number + 1:
            raise ServerError(
                f"training {number}: round {round_number} does not follow the last one kept, {last.round_number}: "
                "another coordinator may be at work; nothing was changed"
            )
        return False

    def resume(self, training: Training) -> Shared | None:
        """Return the model after the last completed round; None where there is none: begin with the initial model.

        It has what the server keeps with it: a training goes on as if it had never been interrupted.

        Raises:
            StateDamaged: its file is missing or not what was written.
        """
        chosen = select(checkpoints.c.hash).where(checkpoints.c.training == training.id)
        with self._database.reading() as connection:
            found = connection.scalar(chosen.order_by(checkpoints.c.round_number.desc()).limit(1))
        return None if found is None else replace(self._shelf.read(found), kept=self._shelf.kept(found))

    def answered(self, training: Training) -> list[int]:
        """Return how many devices were in the sum of each completed round, also of those before a restart."""
        own = (checkpoints.c.training == training.id) & (checkpoints.c.round_number > 0)
        with self._database.reading() as connection:
            return list(
                connection.scalars(select(checkpoints.c.answered).where(own).order_by(checkpoints.c.round_number))
            )

    def finish(self, training: Training) -> None:
        """End a training that is complete. Register its model before. Twice is harmless.

        Raises:
            ServerError: it was abandoned.
        """
        self._end(training, "finished")

    def abandon(self, training: Training) -> None:
        """End a training that will not be complete: nothing of it is used. Twice is harmless.

        Raises:
            ServerError: it has finished.
        """
        self._end(training, "abandoned")

    def _end(self, training: Training, outcome: str) -> None:
        chosen = trainings.c.id == training.id
        with self._database.writing() as connection:
            found = connection.execute(select(trainings.c.outcome).where(chosen)).one_or_none()
            if found is None or found.outcome not in (None, outcome):
                raise ServerError(f"training {training.id} was {'unknown' if found is None else found.outcome}")
            if found.outcome is None:
                newest = connection.scalar(select(func.max(devices.c.number))) or 0
                row = {"outcome": outcome, "ended_at": int(self._clock()), "newest_device": newest}
                connection.execute(trainings.update().where(chosen).values(row))


def _chosen() -> Select[Any]:
    """Select trainings, each with its last checkpoint."""
    own = checkpoints.c.training == trainings.c.id
    last = select(func.max(checkpoints.c.round_number)).where(own).correlate(trainings).scalar_subquery()
    most = select(func.max(checkpoints.c.answered)).where(own).correlate(trainings).scalar_subquery()
    newest = own & (checkpoints.c.round_number == last)
    columns = [column for column in trainings.c if column.name != "newest_device"]
    return select(
        *columns, checkpoints.c.round_number, checkpoints.c.hash.label("shared_hash"), most.label("answered")
    ).select_from(trainings.outerjoin(checkpoints, newest))


def _training(row: Row[Any]) -> Training:
    found = row._asdict()
    return Training(**found | {"answered": found["answered"] or 0})
