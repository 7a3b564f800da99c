"""What devices keep, in memory or in a file: the same rows, and copies that are whole or not there."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import DataError, DataNotFound, OutputError
from fedpersona.simulation import private_table
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import create

MODEL = create("fedmf", {"dim": 32})


@pytest.fixture(params=[False, True], ids=["in memory", "in a file"])
def table(request, tmp_path):
    return PrivateTable.begin(MODEL, 3, 50, tmp_path / "rows.npy" if request.param else None)


def test_a_table_begins_with_what_the_model_says_wherever_it_lies(table, monkeypatch):
    monkeypatch.setattr(private_table, "_BLOCK", 7)
    assert np.array_equal(table.rows, MODEL.begin(3, np.arange(50)))
    assert np.array_equal(PrivateTable.begin(MODEL, 3, 50).rows, table.rows)


def test_a_device_takes_128_bytes_at_32_dimensions(tmp_path):
    PrivateTable.begin(MODEL, 3, 1000, tmp_path / "rows.npy")
    assert 128_000 <= (tmp_path / "rows.npy").stat().st_size <= 128_128


def test_rows_are_copied_out_and_put_back(table):
    taken = table.take(np.array([4, 2]))
    taken[:] = 1.0
    assert not (table.rows == 1.0).any()
    table.put(np.array([4, 2]), taken)
    assert np.flatnonzero((table.rows == 1.0).all(axis=1)).tolist() == [2, 4]


def test_what_was_put_into_a_file_is_there_when_it_is_opened_again(tmp_path):
    PrivateTable.begin(MODEL, 3, 50, tmp_path / "rows.npy").put(np.array([7]), np.ones((1, 32), np.float32))
    again = PrivateTable.open(tmp_path / "rows.npy", 50, 32)
    assert (again.rows[7] == 1.0).all()
    assert np.array_equal(again.rows[:7], MODEL.begin(3, np.arange(7)))


def test_a_copy_brings_every_row_back(table, tmp_path, monkeypatch):
    monkeypatch.setattr(private_table, "_BLOCK", 7)
    before = table.rows.copy()
    table.save(tmp_path / "copy.npy")
    table.put(np.arange(50), np.zeros((50, 32), np.float32))
    table.restore(tmp_path / "copy.npy")
    assert np.array_equal(table.rows, before)


def test_a_later_copy_takes_the_place_of_the_one_before(table, tmp_path):
    table.save(tmp_path / "copy.npy")
    table.put(np.array([0]), np.ones((1, 32), np.float32))
    table.save(tmp_path / "copy.npy")
    assert (PrivateTable.open(tmp_path / "copy.npy").rows[0] == 1.0).all()
    assert not list(tmp_path.glob(".*"))


def test_a_copy_that_cannot_be_written_leaves_the_one_before(table, tmp_path, monkeypatch):
    table.save(tmp_path / "copy.npy")
    before = (tmp_path / "copy.npy").read_bytes()
    table.put(np.array([0]), np.ones((1, 32), np.float32))

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_table, "sync", full)
    with pytest.raises(OutputError, match="No space left"):
        table.save(tmp_path / "copy.npy")
    assert (tmp_path / "copy.npy").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda raw: raw[:-1], "cut off"),
        (lambda raw: raw + b"\0", "goes on after its end"),
        (lambda raw: raw[:20], "damaged"),
        (lambda raw: b"", "damaged"),
        (lambda raw: raw.replace(b"<f4", b"<f8"), "float32 of 50 x 32 belongs there"),
        (lambda raw: raw.replace(b"(50, 32)", b"(49, 32)"), "float32 of 50 x 32 belongs there"),
        (lambda raw: raw.replace(b"(50, 32)", b"(1600,) "), "float32 of 50 x 32 belongs there"),
        (lambda raw: raw.replace(b"order': False", b"order': True "), "float32 of 50 x 32 belongs there"),
    ],
)
def test_a_copy_that_is_not_whole_or_of_another_size_changes_nothing(table, tmp_path, change, complaint):
    table.save(tmp_path / "copy.npy")
    (tmp_path / "copy.npy").write_bytes(change((tmp_path / "copy.npy").read_bytes()))
    before = table.rows.copy()
    with pytest.raises(DataError, match=complaint):
        table.restore(tmp_path / "copy.npy")
    assert np.array_equal(table.rows, before)


def test_a_copy_that_is_not_there_is_named(table, tmp_path):
    with pytest.raises(DataNotFound, match=r"none\.npy"):
        table.restore(tmp_path / "none.npy")


def test_a_file_of_objects_is_never_unpacked(table, tmp_path):
    np.save(tmp_path / "copy.npy", np.array([[print]]), allow_pickle=True)
    with pytest.raises(DataError, match="belongs there"):
        table.restore(tmp_path / "copy.npy")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputError, match="cannot be written there"):
        PrivateTable.begin(MODEL, 3, 5, tmp_path / "no folder" / "rows.npy")


def test_a_table_of_nobody_can_be_kept_too(tmp_path):
    table = PrivateTable.begin(MODEL, 3, 0, tmp_path / "rows.npy")
    table.save(tmp_path / "copy.npy")
    table.restore(tmp_path / "copy.npy")
    assert table.rows.shape == (0, 32)


def test_a_table_in_a_file_of_its_own_works_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = PrivateTable.begin_in_a_file(MODEL, 3, 50)
    assert isinstance(table.rows, np.memmap)
    table.put(np.array([7]), np.ones((1, 32), np.float32))
    assert (table.take(np.array([7])) == 1.0).all()
    assert np.array_equal(table.take(np.arange(7)), MODEL.begin(3, np.arange(7)))
    assert list(tmp_path.iterdir()) == []
