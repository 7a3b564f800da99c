import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from fedpersona.aggregation.budget_witness import remembered
from fedpersona.aggregation.database import Database, checkpoints, condition, serials
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import DiskFull, OutputError, ServerError, StateDamaged


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "fedpersona.db"


def pragma(database, name):
    with database.reading() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()


def tamper(path, *statements):
    raw = sqlite3.connect(path)
    for statement in statements:
        raw.execute(statement)
    raw.commit()
    raw.close()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_garbage_is_named_as_damage_and_left_as_it_is(path):
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StateDamaged, match="backup"):
        Database(path)
    assert path.read_bytes() == b"no database" * 1000


def test_a_page_that_was_overwritten_is_named_as_damage(path):
    Database(path).close()
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\x5a" * 8192
    path.write_bytes(data)
    with pytest.raises(StateDamaged, match="damaged"):
        Database(path)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE schema_version SET version = 99"], "newer version"),
        (["UPDATE schema_version SET version = 0"], "lacks tables"),
        (["DELETE FROM schema_version"], "lacks tables"),
        (["DROP TABLE schema_version"], "another program"),
        (["DROP TABLE tokens"], "lacks tables"),
    ],
)
def test_a_database_of_another_shape_is_refused(path, statements, words):
    Database(path).close()
    tamper(path, *statements)
    with pytest.raises(StateDamaged, match=words):
        Database(path)


def test_a_folder_in_its_place_is_an_error_of_a_person(path):
    path.mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be made or opened"):
        Database(path)


def test_what_raises_is_undone(path):
    with Database(path) as database:
        with suppress(KeyError), database.writing() as connection:
            connection.execute(serials.update().values(last=7))
            raise KeyError
        with database.reading() as connection:
            assert connection.scalar(select(serials.c.last)) == 0


def test_a_full_disk_is_named_and_what_was_there_stays(path):
    with Database(path) as database:
        with database.reading() as connection:  # the pool gives the same connection again
            connection.exec_driver_sql("PRAGMA max_page_count = 1").scalar_one()
        with pytest.raises(DiskFull, match="Make room"), database.writing() as connection:
            connection.execute(condition.update().values(words="x" * 1_000_000))
        with database.reading() as connection:
            assert connection.scalar(select(condition.c.words)) == ""


def test_a_lock_held_too_long_is_named(path, monkeypatch):
    monkeypatch.setattr("fedpersona.aggregation.database._BUSY_SECONDS", 0.05)
    with Database(path) as database, Database(path) as other, other.writing():
        with database.reading() as connection:
            assert connection.scalar(select(serials.c.last)) == 0  # readers never wait
        with pytest.raises(ServerError, match="another process held it"), database.writing():
            pass


def test_a_closed_database_says_so(path):
    database = Database(path)
    database.close()
    database.close()
    with pytest.raises(ServerError, match="closed"), database.reading():
        pass


def test_it_is_for_its_owner_only_durable_and_checks_references(path):
    with Database.open(path) as database, database.writing() as connection:
        connection.execute(serials.update().values(last=1))
        files = {mode(file) for file in path.parent.iterdir()}
        assert files == {0o600}
        assert mode(path.parent) == 0o700
        assert (pragma(database, "journal_mode"), pragma(database, "synchronous")) == ("wal", 2)
        assert pragma(database, "busy_timeout") == 10_000
    with Database(path) as database, pytest.raises(IntegrityError) as caught, database.writing() as connection:
        connection.execute(checkpoints.insert().values(training=5, round_number=0, hash="secret", answered=0, at=0))
    assert "secret" not in str(caught.value)


def test_rights_that_were_loosened_are_tightened(path):
    Database(path).close()
    path.chmod(0o644)
    Database(path).close()
    assert mode(path) == 0o600


def test_threads_lose_no_update(path):
    def add():
        for _ in range(20):
            with database.writing() as connection:
                last = connection.scalar(select(serials.c.last))
                connection.execute(serials.update().values(last=last + 1))

    with Database(path) as database:
        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.reading() as connection:
            assert connection.scalar(select(serials.c.last)) == 80


ADD = """
import sys
from sqlalchemy import select
from fedpersona.aggregation.database import Database, serials
with Database(sys.argv[1]) as database:
    for _ in range(20):
        with database.writing() as connection:
            last = connection.scalar(select(serials.c.last))
            connection.execute(serials.update().values(last=last + 1))
"""


def test_processes_that_make_it_at_once_lose_no_update(path):
    processes = [subprocess.Popen([sys.executable, "-c", ADD, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with Database(path) as database, database.reading() as connection:
        assert connection.scalar(select(serials.c.last)) == 60


def test_a_database_of_version_1_is_brought_up_and_keeps_what_it_has(path):
    Database(path).close()
    tamper(
        path,
        "DROP TABLE budget",
        "ALTER TABLE trainings DROP COLUMN privacy",
        "INSERT INTO trainings (model, settings, catalogue, seed, began_at) VALUES ('ease', '{}', 'c', 7, 9)",
        "UPDATE serials SET last = 41",
        "UPDATE schema_version SET version = 1",
    )
    with Database(path) as database:
        (training,) = Trainings(database, path.parent / "models").all()
        assert (training.seed, training.privacy) == (7, None)
        assert remembered(database) == []
        with database.reading() as connection:
            assert connection.scalar(select(serials.c.last)) == 41
    Database(path).close()  # again: it is of version 2 now


def test_a_database_of_version_1_that_lacks_a_table_is_damaged(path):
    Database(path).close()
    tamper(path, "DROP TABLE budget", "DROP TABLE tokens", "UPDATE schema_version SET version = 1")
    with pytest.raises(StateDamaged, match="lacks tables"):
        Database(path)
