"""Arrays in files that are written in place: room for all of them is there before anything is written."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from fedpersona.simulation import mapped_array
from fedpersona.simulation.mapped_array import create_mapped, open_mapped

SHAPE = (1000, 32)


def refusing(number):
    def fallocate(handle, offset, size):
        raise OSError(number, os.strerror(number))

    return fallocate


@pytest.mark.parametrize("way", ["set aside", "not here", "no such call"])
def test_what_is_written_is_there_however_room_was_made(tmp_path, monkeypatch, way):
    monkeypatch.setattr(mapped_array, "_BLOCK", 1 << 14)
    if way == "not here":
        monkeypatch.setattr(os, "posix_fallocate", refusing(errno.EOPNOTSUPP), raising=False)
    if way == "no such call":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    array = create_mapped(tmp_path / "rows.npy", np.float32, SHAPE)
    assert not array.any()
    file = (tmp_path / "rows.npy").stat()
    if os.name != "nt":
        assert file.st_blocks * 512 >= array.nbytes, "no part of it is a hole"
    array[7] = 1.0
    del array
    again = open_mapped(tmp_path / "rows.npy", np.float32, SHAPE)
    assert np.flatnonzero(again.any(axis=1)).tolist() == [7]
    assert np.array_equal(np.load(tmp_path / "rows.npy"), again)


def test_a_full_disk_is_an_error_before_anything_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", refusing(errno.ENOSPC), raising=False)
    with pytest.raises(OSError, match="No space left"):
        create_mapped(tmp_path / "rows.npy", np.float32, SHAPE)


def test_an_array_of_nothing_needs_no_room(tmp_path):
    assert create_mapped(tmp_path / "rows.npy", np.int64, (0, 3)).shape == (0, 3)
    assert open_mapped(tmp_path / "rows.npy", np.int64, (None, 3)).shape == (0, 3)
