"""``fedpersona convert``: histories into a folder of columns, for populations larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["convert"]


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="A Parquet file, a folder of them, an .npz split, or the name of a known dataset."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, for 'fedpersona simulate OUT'.")],
    person: Annotated[str, typer.Option(help="Parquet: the column of people's ids, whole numbers or text.")] = "person",
    item: Annotated[str, typer.Option(help="Parquet: the column of items' ids, whole numbers or text.")] = "item",
    weight: Annotated[
        str | None, typer.Option(help="Parquet: the column of play counts; 'weight' where there is one.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Parquet: the column of Unix seconds or timestamps; 'timestamp' if there is one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="FEDPERSONA_DATA", help="Folder with original files of real datasets.")
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, help="Of 'synthetic': how many people.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Of 'synthetic': how many tracks.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of 'synthetic': another seed, other people.")] = 0,
) -> None:
    """Make a folder of histories that is mapped into memory and never read whole, and hold two items of each back.

    The latest two where there are times, else two at random, the same every time; people with fewer than three items
    are left out. The same pair twice counts once, with the sum of its weights. Splits and known datasets keep what is
    held back already.

    [dim]Examples:[/dim]
      fedpersona convert plays.parquet plays --person user_id --item track_id
      fedpersona convert lastfm-2k lastfm --data ~/data
      fedpersona simulate ./plays --model fedmf
    """
    from fedpersona.simulation import datasets
    from fedpersona.simulation.datasets import columnar
    from fedpersona.simulation.narration import Terminal

    path = Path(source).expanduser()
    with Terminal(Console(stderr=True)) as narrator:
        if source not in datasets.KNOWN and columnar.is_parquet(path):
            names = columnar.ColumnNames(person=person, item=item, weight=weight, time=time)
            columnar.convert(path, out, names, narrator=narrator)
        else:
            columnar.check_new(out)
            narrator.stage(f"reading {source}")
            split = datasets.load(source, data=data, seed=seed, people=people, items=items)
            narrator.stage(f"writing {out}")
            columnar.write_split(split, out, narrator.progress)
            del split
        train = columnar.read(out).train
    facts = f"{len(train):,} people, {len(train.catalogue):,} {train.catalogue.kind}s, {train.interactions:,} plays"
    Console().print(f"{out}: {facts}", soft_wrap=True, markup=False, highlight=False)
