"""Populations larger than memory: a folder with a file a column, which is mapped into memory and never read whole."""

from fedpersona.simulation.datasets.columnar.convert import convert
from fedpersona.simulation.datasets.columnar.parquet import ColumnNames, is_parquet
from fedpersona.simulation.datasets.columnar.reading import is_population, open_shard, read, version
from fedpersona.simulation.datasets.columnar.writing import check_new, write_split

__all__ = [
    "ColumnNames",
    "check_new",
    "convert",
    "is_parquet",
    "is_population",
    "open_shard",
    "read",
    "version",
    "write_split",
]
