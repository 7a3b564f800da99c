"""One listener's weekly list, made as their own device would make it: from the shared model and all they played."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fedpersona.device.playlist import Pick, weekly_list
from fedpersona.simulation.experiment import Run

__all__ = ["Listening", "weekly_for"]


@dataclass(frozen=True)
class Listening:
    """A listener's list for one week. It tells on the listener: shown to whoever asked, written nowhere."""

    person_id: int
    week: tuple[int, int]
    """ISO year and week."""
    picks: tuple[Pick, ...]


def weekly_for(run: Run, person_id: int | None, today: date) -> Listening:
    """Make the list of the person with this id; with None, of the one with the median length of history.

    Everything the person played is left out, held-out items too.

    Raises:
        DataError: nobody has that id.
    """
    train = run.split.train
    if person_id is None:
        lengths = train.indptr[1:] - train.indptr[:-1]
        position = int(lengths.argsort(kind="stable")[len(train) // 2])
        person_id = int(train.person_ids[position])
    else:
        position = train.person(person_id)
    plays = run.split.everything(position)
    private = run.model.personalise(run.shared, plays)
    year, week, _ = today.isocalendar()
    picks = weekly_list(
        run.model.scores(run.shared, private, plays),
        plays,
        train.catalogue,
        week=(year, week),
        person_key=position,
        explain=lambda row, history: run.model.explain(run.shared, row, history),
    )
    return Listening(person_id, (year, week), picks)
