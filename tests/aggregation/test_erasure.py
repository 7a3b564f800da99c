"""What devices sent is on no disk of the server's once a round is over: the bytes are looked for, not the rows."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing

import psutil
import pytest

from fedpersona.aggregation import erasure
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.erasure import erase_messages
from fedpersona.aggregation.journal import Journal
from fedpersona.errors import ServerError
from tests.aggregation.light_devices import Crowd, enrolled, taking_part
from tests.aggregation.test_a_federation_that_is_killed import process_of, stage_of
from tests.serving import running, serving
from tests.superlinks import put, store_at

MARKER = b"of a device, and of nobody else"
CONTENT = MARKER + bytes(20_000) + MARKER


@pytest.fixture
def store(tmp_path):
    with store_at(tmp_path / "superlink.db") as store:
        yield store


def on_disk(folder) -> dict[str, int]:
    """Count the marker in each file of the database."""
    return {
        file.name: file.read_bytes().count(MARKER)
        for file in folder.glob("superlink.db*")
        if MARKER in file.read_bytes()
    }


def test_no_byte_of_a_message_stays_in_the_database_or_its_log_whether_it_was_deleted_before_or_not(store, tmp_path):
    names = [put(store, CONTENT + bytes([number])) for number in range(40)]
    with closing(sqlite3.connect(tmp_path / "superlink.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
    for name in names[::2]:
        store.delete(name)
    assert set(on_disk(tmp_path)) == {"superlink.db", "superlink.db-wal"}
    assert erase_messages(tmp_path / "superlink.db") == 0
    assert not on_disk(tmp_path)
    assert len(store) == 0
    put(store, CONTENT)  # the SuperLink goes on
    assert len(store) == 1


def test_what_is_no_message_stays_and_answers_that_nobody_took_are_counted(store, tmp_path):
    file = tmp_path / "superlink.db"
    with closing(sqlite3.connect(file)) as connection:
        for number, taken in enumerate(("", "", "2026-01-01T00:00:00")):
            columns = [
                (name, kind, must)
                for _, name, kind, must, default, _ in connection.execute("PRAGMA table_info(message_res)")
            ]
            values = {name: f"{name} {number}" if "CHAR" in kind else number for name, kind, must in columns if must}
            values |= {"delivered_at": taken, "message_id": f"m{number}", "reply_to_message_id": f"q{number}"}
            names = ", ".join(values)
            connection.execute(
                f"INSERT INTO message_res ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values())
            )
        connection.execute("INSERT INTO fab VALUES ('hash', 'content', '{}')")
        connection.commit()
    assert erase_messages(file) == 2
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM message_res").fetchone() == (0,)
        assert connection.execute("SELECT content FROM fab").fetchone() == ("content",)


def test_where_no_superlink_ever_was_there_is_nothing_to_erase(tmp_path):
    assert erase_messages(tmp_path / "superlink.db") is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["a write that does not end", "a read that does not end", "no database"])
def test_what_could_not_be_erased_is_said(how, store, tmp_path, monkeypatch):
    monkeypatch.setattr(erasure, "_PATIENCE", 0.1)
    file = tmp_path / "superlink.db"
    put(store, CONTENT)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        if how == "a write that does not end":
            other.execute("BEGIN IMMEDIATE")
        elif how == "a read that does not end":
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM objects").fetchone()
        else:
            file = tmp_path / "other.db"
            file.write_bytes(b"no database at all" * 100)
        with pytest.raises(ServerError, match="could not be erased"):
            erase_messages(file)
    if how != "no database":
        erase_messages(file)
        assert not on_disk(tmp_path)


# -- a real server --

PEOPLE = 5


def left(config, sent) -> set[str]:
    """Return the kinds of answers of which a piece of the end is in the files of the SuperLink's database."""
    files = [config.server.state / name for name in ("superlink.db", "superlink.db-wal")]
    raw = b"".join(file.read_bytes() for file in files if file.exists())
    return {
        kind
        for kind, body in list(sent)
        if any(body[start : start + 24] in raw for start in range(max(0, len(body) - 960), len(body) - 23, 24))
    }


class Gate:
    """Lets devices answer a kind of message only while it is open."""

    def __init__(self, kind: str, *numbers: int) -> None:
        self.kind, self.numbers = kind, numbers
        self.open, self.reached = threading.Event(), threading.Event()

    def __call__(self, number: int, kind: str) -> None:
        if kind == self.kind and number in self.numbers:
            self.reached.set()
            self.open.wait(60)


def kill_all(served) -> None:
    """Kill a server and all that it started, as a power cut would: none of them ends in order."""
    everyone = [psutil.Process(served.process.pid), *psutil.Process(served.process.pid).children(recursive=True)]
    for one in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everyone, 30)


def test_what_devices_sent_is_gone_after_a_kill_of_the_coordinator_and_after_one_of_the_whole_server(tmp_path):
    """Between updating and unmasking: masked vectors and shares are on the disk, and then they are not."""
    late, silent, silent_again = Gate("train.update", 0), Gate("query.unmask", 1), Gate("query.unmask", 2, 3)
    crowd = Crowd()
    timing = {"rounds__deadline_seconds": 20, "rounds__gather_seconds": 60, "rounds__linger_seconds": 1}
    sizes = {"rounds__min_count": PEOPLE - 1, "rounds__wait_for": PEOPLE, "rounds__cohort": PEOPLE}
    settings = {"rounds": 1, "dim": 4}
    with (
        serving(tmp_path, settings=settings, **timing, **sizes) as served,
        Database.open(served.config.database) as database,
    ):
        config, journal = served.config, Journal(database)
        with taking_part(enrolled(config, PEOPLE), crowd):

            def shares_on_disk(gate: Gate) -> bool:
                there = gate.reached.is_set() and stage_of(journal) == "unmasking"
                return there and left(config, crowd.sent) >= {"train.update", "query.unmask"}

            def frozen(there: Callable[[Gate], bool], gate: Gate) -> bool:
                """Stop the SuperLink before it writes over its log; it goes on only if nothing is there."""
                superlink = process_of(served, "superlink")
                superlink.suspend()
                found = there(gate)
                if not found:
                    superlink.resume()
                return found

            crowd.hold = lambda number, kind: (late(number, kind), silent(number, kind))
            served.until(lambda: shares_on_disk(silent), 120, "shares on the disk")
            of_the_dead = list(crowd.sent)
            crowd.hold = silent_again
            os.kill(process_of(served, "coordinator").pid, signal.SIGKILL)
            served.until(lambda: not left(config, of_the_dead), 60, "an erasure")
            late.open.set()  # one that answers a round which is over
            silent.open.set()

            served.until(lambda: frozen(shares_on_disk, silent_again), 180, "shares on the disk once more")
            of_the_second = list(crowd.sent)
            assert not left(config, of_the_dead)
            kill_all(served)
            assert left(config, of_the_second) >= {"train.update", "query.unmask"}
            of_the_dead = list(crowd.sent)
            with running(config):
                assert not left(config, of_the_dead)
                silent_again.open.set()
            assert not left(config, crowd.sent)  # nor after an end in order
