import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2 as sqlite

from fedpersona.device import schema, store
from fedpersona.device.in_use import unused
from fedpersona.device.store import Store
from fedpersona.errors import DeviceClosed, DiskFull, OutputError, VaultBusy, VaultDamaged, VaultTooNew

KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vault.db"


def fill(opened, rows=2000, start=0):
    with opened.writing() as cursor:
        cursor.executemany(
            "INSERT INTO settings VALUES (?, ?)", ((f"name {n}", b"value %d" % n) for n in range(start, start + rows))
        )


def count(opened):
    with opened.reading() as cursor:
        return cursor.execute("SELECT count(*) FROM settings").fetchone()[0]


def break_off(opened):
    with opened.writing() as cursor:
        cursor.execute("INSERT INTO settings VALUES ('undone', '')")
        raise ZeroDivisionError


def crashed(path, *, rows=400):
    """Leave a store as a killed process leaves it: changes in the log that have not reached the database."""
    live = path.parent / "live" / path.name
    live.parent.mkdir()
    with closing(Store(live, KEY)) as opened:
        opened._connection.execute("PRAGMA wal_autocheckpoint = 0")
        fill(opened, rows)
        for suffix in ("", "-wal", "-shm"):
            shutil.copyfile(f"{live}{suffix}", f"{path}{suffix}")


def test_what_was_written_is_there_after_opening_again(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 3)
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 3
        opened.check()


def test_no_text_is_readable_in_any_file(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 50)
        for file in path.parent.iterdir():
            assert b"name 1" not in file.read_bytes()
            assert b"CREATE TABLE" not in file.read_bytes()


def test_files_are_their_owners_alone(path):
    path.touch(0o644)
    with closing(Store(path, KEY)) as opened:
        fill(opened, 1)
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_an_error_undoes_the_whole_transaction(path):
    with closing(Store(path, KEY)) as opened:
        with pytest.raises(ZeroDivisionError):
            break_off(opened)
        assert count(opened) == 0


def test_a_nested_transaction_is_undone_by_itself_and_committed_with_the_outer_one(path):
    with closing(Store(path, KEY)) as opened:
        with opened.writing() as outer:
            outer.execute("INSERT INTO settings VALUES ('outer', '')")
            with pytest.raises(ZeroDivisionError):
                break_off(opened)
            with opened.writing() as inner:
                inner.execute("INSERT INTO settings VALUES ('inner', '')")
        with opened.reading() as cursor:
            assert {name for (name,) in cursor.execute("SELECT name FROM settings")} == {"outer", "inner"}


def test_a_snapshot_does_not_see_what_another_writes_meanwhile(path):
    with closing(Store(path, KEY)) as one, closing(Store(path, KEY)) as other:
        with one.snapshot() as cursor:
            before = cursor.execute("SELECT count(*) FROM settings").fetchone()
            fill(other, 1)
            assert cursor.execute("SELECT count(*) FROM settings").fetchone() == before
            with pytest.raises(RuntimeError, match="snapshot"), one.writing():
                pass
        assert count(one) == 1


def test_changes_tells_writes_here_and_elsewhere(path):
    with closing(Store(path, KEY)) as one, closing(Store(path, KEY)) as other:
        first = one.changes()
        assert count(one) == 0
        assert one.changes() == first
        fill(other, 1)
        second = one.changes()
        fill(one, 1, start=9)
        assert len({first, second, one.changes()}) == 3


def test_threads_take_turns(path):
    with closing(Store(path, KEY)) as opened:
        threads = [threading.Thread(target=fill, args=(opened, 50, 50 * n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert count(opened) == 400


def test_a_closed_store_says_so_and_closing_twice_does_nothing(path):
    opened = Store(path, KEY)
    opened.close()
    opened.close()
    for use in (opened.reading, opened.writing, opened.snapshot):
        with pytest.raises(DeviceClosed, match="open it again"), use():
            pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_open_its_own(path):
    with closing(Store(path, KEY)) as opened:
        child = os.fork()
        if not child:
            code = 1
            try:
                count(opened)
            except DeviceClosed:
                opened.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        fill(opened, 1)
        opened.check()


def test_another_writer_is_waited_for_and_then_named(path, monkeypatch):
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.05)
    with (
        closing(Store(path, KEY)) as one,
        closing(Store(path, KEY)) as other,
        one.writing(),
        pytest.raises(VaultBusy, match="another process"),
        other.writing(),
    ):
        pass


# Damage


def test_any_flipped_bit_in_the_database_is_named(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened)
    whole = path.read_bytes()
    places = [0, 15, 16, 100, 4000, 4095, 4096, len(whole) - 1, *random.Random(1).sample(range(len(whole)), 25)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(VaultDamaged, match=r"vault\.db"), closing(Store(path, KEY)) as opened:
            opened.check()


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_truncated_database_is_named(path, keep):
    with closing(Store(path, KEY)) as opened:
        fill(opened)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(VaultDamaged), closing(Store(path, KEY)) as opened:
        opened.check()


def test_pages_of_two_moments_are_named(path, tmp_path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 600)
        opened.erase_deleted()
        early = path.read_bytes()
        with opened.writing() as cursor:
            cursor.execute("DELETE FROM settings WHERE name < 'name 3'")
        fill(opened, 600, start=5000)
    late = path.read_bytes()
    page = 4096 * 12
    assert early[page : page + 4096] != late[page : page + 4096]
    path.write_bytes(late[:page] + early[page : page + 4096] + late[page + 4096 :])
    with pytest.raises(VaultDamaged), closing(Store(path, KEY)) as opened:
        opened.check()


def test_a_file_that_is_no_database_is_named(path):
    path.write_bytes(b"a diary, say" * 1000)
    with pytest.raises(VaultDamaged, match="import again"):
        Store(path, KEY)
    assert path.read_bytes() == b"a diary, say" * 1000


def test_what_a_crash_left_in_the_log_is_read(path):
    crashed(path)
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 400
        opened.check()


@pytest.mark.parametrize("place", [0, 3, 9, 17, 25, 31, 40, 50, 60, 5000, -1])
def test_a_flipped_bit_in_the_log_after_a_crash_is_named_each_time(path, place):
    crashed(path)
    log = Path(f"{path}-wal")
    damaged = bytearray(log.read_bytes())
    damaged[place] ^= 4
    log.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(VaultDamaged, match=r"vault\.db-wal: .*put it back"):
            Store(path, KEY)


@pytest.mark.parametrize("left", [None, 0, 20, 5000])
def test_a_removed_or_shortened_log_after_a_crash_is_named(path, left):
    crashed(path)
    log = Path(f"{path}-wal")
    whole = log.read_bytes()
    if left is None:
        log.unlink()
    else:
        log.write_bytes(whole[:left])
    with pytest.raises(VaultDamaged, match="delete it and"):
        Store(path, KEY)
    log.write_bytes(whole)
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 400


def test_half_a_transaction_at_the_end_of_the_log_is_no_damage(path):
    crashed(path)
    with Path(f"{path}-wal").open("ab") as log:
        log.write(b"half a frame" * 100)
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 400


def test_without_the_logs_index_the_log_is_taken_as_it_is(path):
    crashed(path)
    Path(f"{path}-shm").unlink()
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 400


def test_a_store_in_use_by_another_process_is_no_damage(path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom fedpersona.device.store import Store\n"
        "opened = Store(Path(sys.argv[1]), bytes(range(32)))\n"
        "print('open', flush=True)\n"
        "for n in range(10**9):\n"
        "    with opened.writing() as cursor:\n"
        "        cursor.execute('INSERT OR REPLACE INTO settings VALUES (?, ?)', (str(n % 50), 'x' * 3000))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"open\n"
            for _ in range(15):
                with closing(Store(path, KEY)) as opened:
                    count(opened)
        finally:
            other.kill()


# Schema


def test_a_newer_schema_is_refused_and_left_alone(path, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE newer (a)"))
    Store(path, KEY).close()
    monkeypatch.undo()
    with pytest.raises(VaultTooNew, match="update this one"):
        Store(path, KEY)


def test_an_older_schema_is_brought_up_with_what_it_holds(path, monkeypatch):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 3)
    later = "CREATE TABLE later (a); INSERT INTO later SELECT name FROM settings;"
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, later, "ALTER TABLE later ADD COLUMN b"))
    with closing(Store(path, KEY)) as opened, opened.reading() as cursor:
        assert cursor.execute("SELECT count(a), count(b) FROM later").fetchone() == (3, 0)


def test_a_step_that_fails_leaves_the_old_version(path, monkeypatch):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 3)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (a); CREATE TABLE settings (a);"))
    with pytest.raises(Exception, match="refused"):
        Store(path, KEY)
    monkeypatch.undo()
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 3


def test_listens_cannot_be_changed(path):
    with closing(Store(path, KEY)) as opened:
        with opened.writing() as cursor:
            cursor.execute("INSERT INTO listens VALUES (1, 2, 3)")
        with pytest.raises(Exception, match="refused"), opened.writing() as cursor:
            cursor.execute("UPDATE listens SET played_at = 9")


# Disk and places


def test_a_full_disk_is_named_and_nothing_is_lost(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 100)
        (pages,) = opened._connection.execute("PRAGMA page_count").fetchone()
        opened._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(DiskFull, match="nothing that was kept before is lost"):
            fill(opened, 5000, start=100)
        assert count(opened) == 100
        opened._connection.execute("PRAGMA max_page_count = 100000")
        fill(opened, 5000, start=100)
        opened.check()
    with closing(Store(path, KEY)) as opened:
        assert count(opened) == 5100


@pytest.mark.skipif(os.name == "nt", reason="no such limit on Windows")
def test_a_disk_that_takes_no_more_at_any_size_is_named_and_nothing_is_lost(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 100)
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom fedpersona.device.store import Store\n"
        "from fedpersona.errors import DiskFull\n"
        "named = 0\n"
        "for limit in range(40_000, 700_000, 33_000):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    try:\n"
        "        opened = Store(Path(sys.argv[1]), bytes(range(32)))\n"
        "    except DiskFull:\n"
        "        named += 1\n"
        "        continue\n"
        "    try:\n"
        "        with opened.writing() as cursor:\n"
        "            rows = ((f'big {n}', 'x' * 500) for n in range(3000))\n"
        "            cursor.executemany('INSERT INTO settings VALUES (?, ?)', rows)\n"
        "        raise SystemExit('no limit was met')\n"
        "    except DiskFull:\n"
        "        named += 1\n"
        "    opened.close()\n"
        "print(named)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("20\n", "")
    with closing(Store(path, KEY)) as opened:
        opened.check()
        assert count(opened) == 100


def test_after_a_large_deletion_the_disk_has_its_room_back_and_the_log_is_empty(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 20000)
        opened.erase_deleted()
        full = path.stat().st_size
        with opened.writing() as cursor:
            cursor.execute("DELETE FROM settings WHERE name != 'name 7'")
        opened.erase_deleted()
        assert path.stat().st_size < full / 4
        assert Path(f"{path}-wal").stat().st_size == 0
        with opened.reading() as cursor:
            assert cursor.execute("PRAGMA freelist_count").fetchone() == (0,)
            assert cursor.execute("SELECT name FROM settings").fetchall() == [("name 7",)]


def test_the_promises_of_the_settings_are_in_force(path):
    with closing(Store(path, KEY)) as opened:
        (mode,) = opened._connection.execute("PRAGMA secure_delete").fetchone()
        (synchronous,) = opened._connection.execute("PRAGMA synchronous").fetchone()
        (journal,) = opened._connection.execute("PRAGMA journal_mode").fetchone()
        (temporary,) = opened._connection.execute("PRAGMA temp_store").fetchone()
    assert (mode, synchronous, journal, temporary) == (1, 2, "wal", 2)


def test_erasing_while_another_reads_is_put_off(path, monkeypatch):
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.05)
    with closing(Store(path, KEY)) as one, closing(Store(path, KEY)) as other:
        fill(one, 20000)
        with other.snapshot() as cursor:
            cursor.execute("SELECT count(*) FROM settings").fetchone()
            with one.writing() as writer:
                writer.execute("DELETE FROM settings")
            one.erase_deleted()
        one.erase_deleted()
        assert Path(f"{path}-wal").stat().st_size == 0


def test_a_link_or_folder_in_the_databases_place_is_refused(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="move it away"):
        Store(path, KEY)
    path.unlink()
    path.mkdir()
    with pytest.raises(OutputError, match="move it away"):
        Store(path, KEY)


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(OutputError, match="look at its folder"):
        Store(tmp_path / "none" / "vault.db", KEY)


def test_no_error_repeats_what_was_to_be_written(path):
    with closing(Store(path, KEY)) as opened:
        fill(opened, 1)
        with pytest.raises(Exception, match="SQLITE_CONSTRAINT") as caught:
            fill(opened, 1)
    assert "name 0" not in str(caught.value)
    assert not isinstance(caught.value, sqlite.Error)
    assert KEY.hex() not in repr(opened)


def test_a_relative_path_means_the_same_folder_after_the_process_has_moved_to_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with closing(Store(Path("vault.db"), KEY)) as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        with store.writing() as cursor:
            cursor.execute("INSERT INTO settings VALUES ('a', 'b')")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_database_that_was_removed_or_replaced_is_not_gone_on_with(tmp_path):
    path = tmp_path / "vault.db"
    with closing(Store(path, KEY)) as store:
        path.rename(tmp_path / "moved")
        with pytest.raises(DeviceClosed, match="moved or replaced"), store.reading():
            pass
        path.write_bytes(b"another")
        with pytest.raises(DeviceClosed, match="moved or replaced"), store.writing():
            pass
        path.unlink()
        (tmp_path / "moved").rename(path)
        with store.reading() as cursor:
            assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_a_database_is_unused_only_while_nobody_has_it_open(tmp_path):
    path = tmp_path / "vault.db"
    with unused(path) as alone:
        assert not alone
    Store(path, KEY).close()
    script = "import sys; from pathlib import Path; from fedpersona.device.store import Store\n"
    script += "held = Store(Path(sys.argv[1]), bytes(range(32))); print('open', flush=True); sys.stdin.readline()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, str(path)], **pipes) as other:
        assert other.stdout.readline() == "open\n"
        with unused(path) as alone:
            assert not alone
        other.communicate("\n", timeout=30)
    with closing(Store(path, KEY)), unused(path) as alone:
        assert not alone
    with unused(path) as alone:
        assert alone == (os.name != "nt")
