"""Parquet files into folders of columns: the project's own split of the same pairs, or one clear sentence."""

from __future__ import annotations

import datetime
import errno
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, DataError, DataNotFound, OutputError
from fedpersona.simulation.datasets import columnar, leave_one_out
from fedpersona.simulation.datasets.columnar import ColumnNames, holding_out, pairs, parquet
from fedpersona.simulation.population import Population


def listens(people=40, items=30, seed=3):
    """Return ids, play counts and times of pairs, each once, in no order; some people have fewer than three items."""
    rng = np.random.default_rng(seed)
    chosen = [(p, i) for p in range(people) for i in rng.choice(items, rng.integers(1, 12), replace=False)]
    order = rng.permutation(len(chosen))
    person, item = np.array(chosen)[order].T
    return {
        "person": 7 + 3 * person,
        "item": 1000 - item,
        "weight": rng.integers(1, 9, len(person)).astype(float),
        "timestamp": rng.integers(1_700_000_000, 1_700_000_009, len(person)),  # many at the same time
    }


def population_of(columns):
    """Return the pairs as the project builds a population of them, people and items in the order of their ids."""
    person_ids, people = np.unique(columns["person"], return_inverse=True)
    item_ids, items = np.unique(columns["item"], return_inverse=True)
    return Population.from_pairs(
        "plays",
        Catalogue.create(map(str, item_ids.tolist())),
        people,
        items,
        person_ids=person_ids,
        weights=columns.get("weight"),
        times=columns.get("timestamp"),
    )


@pytest.fixture(params=[(1 << 20, 1 << 18, 1 << 21), (17, 5, 1)], ids=["at once", "in blocks"])
def blocks(request, monkeypatch):
    spill, batch, together = request.param
    monkeypatch.setattr(pairs, "_TOGETHER", spill)
    monkeypatch.setattr(parquet, "_BATCH", batch)
    monkeypatch.setitem(holding_out.held_out.__kwdefaults__, "together", together)


def write(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def converted(path, tmp_path, names=None):
    columnar.convert(path, tmp_path / "out", names)
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".json"] * 2 + [".npy"] * (
        len(list((tmp_path / "out").iterdir())) - 2
    )
    return columnar.read(tmp_path / "out")


@pytest.mark.parametrize("columns", [("weight", "timestamp"), ("timestamp",), ("weight",), ()])
@pytest.mark.usefixtures("blocks")
def test_a_file_becomes_the_split_that_the_project_makes_of_its_pairs(tmp_path, columns):
    given = {name: column for name, column in listens().items() if name in ("person", "item", *columns)}
    split = converted(write(tmp_path / "plays.parquet", given, row_group_size=13), tmp_path)
    population = population_of(given)
    expected = (leave_one_out.by_time if population.timed else leave_one_out.at_random)(population)
    assert split.train.data_hash == expected.train.data_hash
    assert split.question == expected.question


def test_a_folder_of_files_is_one_population(tmp_path):
    given = listens()
    (tmp_path / "plays" / "year=2024").mkdir(parents=True)
    for name, part in (("a", slice(0, 50)), ("year=2024/b", slice(50, None))):
        write(tmp_path / "plays" / f"{name}.parquet", {key: column[part] for key, column in given.items()})
    (tmp_path / "plays" / "_metadata").write_bytes(b"")
    assert converted(tmp_path / "plays", tmp_path).question == leave_one_out.by_time(population_of(given)).question


@pytest.mark.usefixtures("blocks")
def test_a_pair_that_comes_again_counts_once_with_all_its_weight_and_its_latest_time(tmp_path):
    columns = {
        "person": [1, 1, 1, 1, 1, 1],
        "item": [5, 6, 5, 7, 8, 5],
        "weight": [1.0, 2.0, 3.0, 1.0, 1.0, 4.0],
        "timestamp": [10, 30, 20, 40, 50, 5],
    }
    split = converted(write(tmp_path / "plays.parquet", columns), tmp_path)
    assert split.catalogue.ids == ("5", "6", "7", "8")
    assert (split.val.tolist(), split.test.tolist()) == ([2], [3])
    assert split.train.items.tolist() == [0, 1]
    assert split.train.weights.tolist() == [8.0, 2.0]
    assert split.train.times.tolist() == [20, 30]


def test_ids_may_be_text_and_columns_may_have_other_names(tmp_path):
    when = [datetime.datetime(2024, 1, day, tzinfo=datetime.UTC) for day in (1, 2, 3, 1, 2, 3)]
    columns = {
        "user": pa.array(["zoë", "zoë", "zoë", "adam", "adam", "adam"]).dictionary_encode(),
        "track": ["b", "a", "ç", "ç", "a", "b"],
        "when": pa.array(when, pa.timestamp("us", "UTC")),
        "weight": [1, 1, 1, 1, 1, 1],
    }
    names = ColumnNames(person="user", item="track", time="when")
    split = converted(write(tmp_path / "plays.parquet", columns), tmp_path, names)
    assert split.catalogue.ids == ("a", "b", "ç")
    assert split.train.person_ids.tolist() == [0, 1]  # adam, zoë
    assert split.train.items.tolist() == [2, 1]
    assert split.test.tolist() == [1, 2]
    assert split.train.times.tolist() == [1_704_067_200] * 2
    assert not (tmp_path / "out" / "weights.npy").exists()


THREE = {"person": [1, 1, 1], "item": [1, 2, 3]}


@pytest.mark.parametrize(
    ("columns", "names", "complaint"),
    [
        ({"person": [1], "track": [2]}, ColumnNames(), r"item: there is no such column; there are person, track"),
        (THREE, ColumnNames(weight="count"), r"count: there is no such column"),
        (THREE, ColumnNames(time="when"), r"when: there is no such column"),
        ({"person": [1, None, 1], "item": [1, 2, 3]}, ColumnNames(), r"person, row 1: is empty"),
        ({"person": [1, 1, 1], "item": ["a", "b", None]}, ColumnNames(), r"item, row 2: is empty"),
        ({"person": [1.0, 1.0, 1.0], "item": [1, 2, 3]}, ColumnNames(), r"person: is of type double"),
        (THREE | {"weight": ["x", "y", "z"]}, ColumnNames(), r"weight: is of type string: numbers"),
        (THREE | {"weight": [1.0, np.nan, 1.0]}, ColumnNames(), r"weight, row 1: is nan"),
        (THREE | {"weight": [1.0, 1.0, -1.0]}, ColumnNames(), r"weight, row 2: is -1"),
        (THREE | {"weight": [0, 1, 1]}, ColumnNames(), r"weight, row 0: is 0"),
        (THREE | {"timestamp": [1.0, np.nan, 1.0]}, ColumnNames(), r"timestamp, row 1: is nan"),
        (THREE | {"timestamp": ["1", "2", "3"]}, ColumnNames(), r"timestamp: is of type string"),
        ({"person": [1, 2, 3], "item": [1, 2, 3]}, ColumnNames(), r"nobody has 3 items"),
        ({"person": np.empty(0, int), "item": np.empty(0, int)}, ColumnNames(), r"holds no rows"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_nothing_is_left(tmp_path, columns, names, complaint):
    write(tmp_path / "plays.parquet", columns)
    with pytest.raises(DataError, match=complaint):
        columnar.convert(tmp_path / "plays.parquet", tmp_path / "out", names)
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_ids_of_other_kinds_in_another_file_are_refused(tmp_path):
    (tmp_path / "plays").mkdir()
    write(tmp_path / "plays" / "a.parquet", THREE)
    write(tmp_path / "plays" / "b.parquet", {"person": ["x"], "item": [4]})
    with pytest.raises(DataError, match="person: is text in some files"):
        columnar.convert(tmp_path / "plays", tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 3, 400, -9])
def test_a_file_that_was_cut_off_is_refused(tmp_path, keep):
    path = write(tmp_path / "plays.parquet", listens())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="is no Parquet file, or was cut off or damaged"):
        columnar.convert(path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_a_file_that_is_damaged_inside_is_refused(tmp_path):
    path = write(tmp_path / "plays.parquet", listens(), compression="snappy", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:60] = b"\xff" * 56
    path.write_bytes(raw)
    with pytest.raises(DataError, match="cut off or damaged"):
        columnar.convert(path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_a_place_with_nothing_in_it_is_named(tmp_path):
    (tmp_path / "plays").mkdir()
    for path, complaint in ((tmp_path / "plays", "no .parquet file"), (tmp_path / "no.parquet", "no such file")):
        with pytest.raises(DataNotFound, match=complaint):
            columnar.convert(path, tmp_path / "out")


def test_a_place_that_is_taken_is_left_as_it_is(tmp_path):
    path = write(tmp_path / "plays.parquet", listens())
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        columnar.convert(path, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_one_column_cannot_be_two_things(tmp_path):
    with pytest.raises(ConfigError, match="cannot be two things"):
        columnar.convert(write(tmp_path / "p.parquet", THREE), tmp_path / "out", ColumnNames("person", "person"))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpersona\[parquet\]'"):
        columnar.convert(tmp_path / "plays.parquet", tmp_path / "out")


def test_an_interrupted_conversion_leaves_nothing(tmp_path):
    class Stop:
        def stage(self, text):
            if text == "holding items back":
                raise KeyboardInterrupt

        def progress(self, done, total): ...

        def note(self, text): ...

    path = write(tmp_path / "plays.parquet", listens())
    with pytest.raises(KeyboardInterrupt):
        columnar.convert(path, tmp_path / "out", narrator=Stop())
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_two_columns_of_one_name_are_one_sentence(tmp_path):
    columns = [pa.array([1, 1, 1]), pa.array([1, 2, 3]), pa.array([4, 5, 6])]
    pq.write_table(pa.Table.from_arrays(columns, names=["person", "item", "item"]), tmp_path / "plays.parquet")
    with pytest.raises(DataError, match="item: more than one column is called so"):
        columnar.convert(tmp_path / "plays.parquet", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_text_that_is_not_utf_8_is_one_sentence(tmp_path):
    raw = pa.array([b"\xff%d" % number for number in range(3)], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    write(tmp_path / "plays.parquet", {"person": [1, 1, 1], "item": text})
    with pytest.raises(DataError, match="item: is text that is not UTF-8"):
        columnar.convert(tmp_path / "plays.parquet", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(handle, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path / "plays.parquet", listens())
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OutputError, match=r"could not be written whole \(No space left on device\)"):
        columnar.convert(tmp_path / "plays.parquet", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["plays.parquet"]
