import shutil
import stat
import subprocess
import sys

import pytest

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.serials import Serials
from fedpersona.errors import DiskFull, StateDamaged


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fedpersona.db"


@pytest.fixture
def database(path):
    with Database(path) as database:
        yield database


def test_they_rise_from_one_and_go_on_after_a_restart(path):
    with Database(path) as database:
        assert Serials(database).last() == 0
        assert [Serials(database).next() for _ in range(3)] == [1, 2, 3]
    with Database(path) as database:
        assert Serials(database).last() == 3
        assert Serials(database).next() == 4


def test_a_database_from_an_older_backup_does_not_go_back(path, tmp_path):
    with Database(path) as database:
        Serials(database).next()
    shutil.copy(path, tmp_path / "backup")
    with Database(path) as database:
        assert [Serials(database).next() for _ in range(5)][-1] == 6
    for file in tmp_path.glob("fedpersona.db*"):
        file.unlink()
    shutil.copy(tmp_path / "backup", path)
    with Database(path) as database:
        assert Serials(database).last() == 6
        assert Serials(database).next() == 7


def test_a_lost_file_leaves_the_database_s_number(database):
    serials = Serials(database)
    serials.next()
    serials.path.unlink()
    assert serials.next() == 2
    assert serials.path.read_text() == "2\n"
    assert stat.S_IMODE(serials.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"7", b"-7\n", b"7\n8\n", b"\xff\n", b"9" * 40 + b"\n", "٧\n".encode()])
def test_a_file_that_holds_no_number_stops_all_plans(database, content):
    serials = Serials(database)
    serials.next()
    serials.path.write_bytes(content)
    with pytest.raises(StateDamaged, match="serial number"):
        serials.next()
    assert serials.path.read_bytes() == content


def test_a_full_disk_gives_no_number(database, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    serials = Serials(database)
    serials.next()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(DiskFull, match="Make room"):
            serials.next()
    assert not list(serials.path.parent.glob("*.part"))
    assert serials.next() == 2


def test_a_kill_after_the_file_leaves_a_number_out_and_gives_none_twice(database, monkeypatch):
    serials = Serials(database)
    serials.next()

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedpersona.aggregation.shelf.sync_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            serials.next()
    assert serials.next() == 3


TAKE = """
import sys
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.serials import Serials
with Database(sys.argv[1]) as database:
    print(*(Serials(database).next() for _ in range(15)))
"""


def test_processes_at_once_never_get_the_same(path):
    processes = [
        subprocess.Popen([sys.executable, "-c", TAKE, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    taken = [int(number) for process in processes for number in process.communicate(timeout=60)[0].split()]
    assert sorted(taken) == list(range(1, 46))
