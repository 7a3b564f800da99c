"""From histories in any form that is known here to a folder of columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, DataError
from fedpersona.simulation.datasets.columnar.holding_out import held_out
from fedpersona.simulation.datasets.columnar.pairs import Spill, Table, sorted_by_people
from fedpersona.simulation.datasets.columnar.parquet import ColumnNames, ParquetSource
from fedpersona.simulation.datasets.columnar.writing import SplitFolder, new_population
from fedpersona.simulation.datasets.leave_one_out import SHORTEST, SPLIT_SEED
from fedpersona.simulation.narration import Narrator, Silence

__all__ = ["convert"]


def convert(
    source: Path,
    out: Path,
    names: ColumnNames | None = None,
    *,
    seed: int = SPLIT_SEED,
    narrator: Narrator | None = None,
) -> None:
    """Make a population out of Parquet files, in memory that grows with people and items, not with what they played.

    Rows are spilled to disk as numbers, sorted by people by counting, then by item within blocks of people. Two items
    of each person are held back as :mod:`leave_one_out` does: the latest where there are times, else drawn. There are
    no negatives of the sampled protocol. People and items stand in the order of their ids; people whose ids are text
    are numbered in that order.

    Args:
        source: a file, or a folder of files with the same columns.
        out: a new folder.
        names: what the columns are called.
        seed: seeds what is held out where there are no times.
        narrator: hears how far it is.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: a file is not what it should be, or nobody has three items.
        OutputError: ``out`` is there already, or cannot be written; nothing is left under its name then.
    """
    narrator = narrator or Silence()
    with new_population(out) as folder:
        pairs = ParquetSource(source, names or ColumnNames())
        with Spill(folder.folder) as spill:
            narrator.stage(f"reading {source.name}")
            for some in pairs:
                spill.append(some)
                narrator.progress(spill.count, pairs.rows)
            if not spill.count:
                raise DataError("holds no rows", path=source)
            ids, item_rank = pairs.items.sorted()
            people, person_rank = pairs.people.sorted()
            narrator.stage("sorting by people")
            for done, table in sorted_by_people(spill, person_rank, item_rank):  # noqa: B007 - whole after the last
                narrator.progress(done, spill.count)
        _hold_out(folder, table, _numbers(people), len(ids), seed, narrator)
        if not folder.people:
            raise DataError(
                f"nobody has {SHORTEST} items, which holding one back for the test and one for validation needs",
                path=source,
            )
        folder.finish(source.stem, Catalogue.create(map(str, ids)))


def _hold_out(
    folder: SplitFolder, table: Table, person_ids: NDArray[np.int64], items: int, seed: int, narrator: Narrator
) -> None:
    narrator.stage("holding items back")
    for done, people in held_out(table, person_ids, items, seed=seed):
        folder.append(people)
        narrator.progress(done, len(person_ids))
    table.columns.clear()
    for path in folder.folder.glob("*.sorted"):
        path.unlink()


def _numbers(ids: list[int | str]) -> NDArray[np.int64]:
    """Return the ids of people as numbers: their own, or their places where they are text."""
    if ids and isinstance(ids[0], str):
        return np.arange(len(ids))
    try:
        return np.asarray(ids, np.int64)
    except OverflowError:
        raise ConfigError("the ids of people go beyond 64 bits: give them as text") from None
