"""After forget nothing is left: no listen, no key, no vector, on the disk or in the keyring."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fedpersona import Device
from fedpersona.device.forgetting import forget_unopened
from fedpersona.device.keys import open_key
from fedpersona.device.policy import Policy
from fedpersona.errors import DeviceClosed
from fedpersona.sources.listen import Listen
from tests.device.invented import MARK
from tests.device.machine import Ring
from tests.device.servers import SERVER, federation

FEW = 10  # people of a federation that is soon over


def every_byte(folder) -> bytes:
    return b"".join(path.name.encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def used(device):
    now = int(time.time())
    device.vault.add([Listen(now - 1000 * number, MARK, "A Song for Nobody", (), 200) for number in range(1, 50)])
    device.consent.grant("share_update", server=SERVER)
    device.policy = Policy(least_cohort=FEW)
    with federation(FEW).at(SERVER):
        membership = device.join(SERVER, wait=30)
        assert membership.state.startswith("contributed")
    device.playlist()
    return device


def test_even_before_forgetting_no_title_is_readable_on_the_disk(used, tmp_path):
    found = every_byte(tmp_path)
    assert len(found) > 100_000
    for planted in (MARK, "A Song for Nobody", SERVER, "share_update"):
        assert planted.encode() not in found
        assert planted.encode("utf-16-le") not in found


def test_forget_leaves_no_file_and_a_copy_of_the_database_without_its_key_opens_with_nothing(used, tmp_path):
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "device").iterdir():
        if file.name != "key.json":
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    secret = used._key.secret
    used.forget()
    assert not (tmp_path / "device").exists()
    left = every_byte(tmp_path)
    assert secret not in left
    assert secret.hex().encode() not in left
    with pytest.raises(DeviceClosed):
        used._key.secret  # noqa: B018 - the property raises
    with pytest.raises(DeviceClosed):
        used.playlist()


def test_what_was_not_ours_in_the_folder_stays(used, tmp_path):
    (tmp_path / "device" / "letter.txt").write_text("not ours")
    used.forget()
    assert [path.name for path in (tmp_path / "device").iterdir()] == ["letter.txt"]


def test_a_second_name_of_the_database_shows_nothing_afterwards(used, tmp_path):
    os.link(tmp_path / "device" / "vault.db", tmp_path / "second name")
    used.forget()
    assert (tmp_path / "second name").read_bytes() == b""


def test_a_new_device_in_the_same_place_begins_empty(used, tmp_path):
    used.forget()
    with Device.open(tmp_path / "device") as again:
        assert again.vault.count() == 0
        assert len(again.ledger.tail()) == 0
        assert again.consent.records() == []


def test_a_device_that_cannot_be_opened_can_be_forgotten(used, tmp_path):
    used.close()
    (tmp_path / "device" / "vault.db").write_bytes(b"damaged")
    forget_unopened(tmp_path / "device")
    assert not (tmp_path / "device").exists()


@pytest.mark.parametrize("gone", [["key.json"], ["vault.db"], ["key.json", "key.lock"], ["key.json", "vault.db"]])
def test_what_a_kill_in_the_middle_of_forgetting_left_can_be_forgotten(used, tmp_path, gone):
    used.close()
    for name in gone:
        (tmp_path / "device" / name).unlink()
    (tmp_path / "device" / "key.json.new").write_text("half")
    assert forget_unopened(tmp_path / "device", lambda: None) is None
    assert not (tmp_path / "device").exists()


class Stubborn(Ring):
    def delete_password(self, service, username):
        raise OSError("locked")


def kept_in(ring, folder):
    open_key(folder, None, ring)
    (folder / "vault.db").write_bytes(b"damaged")
    assert len(ring.kept) == 1
    return next(iter(ring.kept))[1]


def test_forgetting_unopened_deletes_the_keyrings_entry(tmp_path):
    ring = Ring()
    kept_in(ring, tmp_path / "device")
    ring.kept["fedpersona", "of another device"] = "stays"
    assert forget_unopened(tmp_path / "device", lambda: ring) is None
    assert ring.kept == {("fedpersona", "of another device"): "stays"}
    assert not (tmp_path / "device").exists()


@pytest.mark.parametrize("left", [Stubborn, None])
def test_an_entry_that_is_still_in_the_keyring_is_named(tmp_path, left):
    ring = Stubborn() if left else Ring()
    entry = kept_in(ring, tmp_path / "device")
    told = forget_unopened(tmp_path / "device", lambda: ring if left else None)
    assert entry in told
    assert "till there" in told
    assert "delete it there" in told
    assert not (tmp_path / "device").exists()


def test_without_the_key_file_nobody_knows_which_entry_it_was(tmp_path):
    ring = Ring()
    kept_in(ring, tmp_path / "device")
    (tmp_path / "device" / "key.json").write_bytes(b"garbled")
    assert "If its key was in the system keyring" in forget_unopened(tmp_path / "device", lambda: ring)
    assert len(ring.kept) == 1
    assert not (tmp_path / "device").exists()


def test_forget_ends_what_runs_in_the_background(used):
    with federation(FEW, patience=10.0).at(SERVER):
        membership = used.join(SERVER, wait=0)
        used.forget()
        assert not membership.running


HOLDER = """
import sys
from fedpersona import Device
from fedpersona.sources.listen import Listen

with Device.open(sys.argv[1]) as device:
    print(device.vault.count(), flush=True)
    sys.stdin.readline()
    for act in (
        device.vault.count,
        device.vault.export().__next__,
        device.playlist,
        device.status,
        device.check,
        lambda: device.vault.add([Listen(1_790_000_000, "Ro", "Lantern", (), 100)]),
        lambda: device.consent.grant("share_update", server="https://taste.example"),
    ):
        try:
            act()
            print("went on")
        except Exception as error:
            print(type(error).__name__)
"""


@pytest.fixture
def holder(used, tmp_path):
    """Another process that has the folder open: call it to let it go on, and get what it says."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "device")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "109\n"
        yield lambda: (other.communicate("\n", timeout=60)[0].split(), other.returncode)
        other.kill()


def test_another_process_that_has_the_folder_open_is_told_so_and_does_not_die(used, holder, tmp_path):
    used.forget()
    assert not (tmp_path / "device").exists()
    assert holder() == (["DeviceClosed"] * 7, 0)
    assert not (tmp_path / "device").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_another_process_that_has_the_old_device_open_does_nothing_to_a_new_one(used, holder, tmp_path):
    used.forget()
    with Device.open(tmp_path / "device") as again:
        again.vault.add([Listen(int(time.time()) - 1000, MARK, "A Song for Nobody", (), 200)])
        assert holder() == (["DeviceClosed"] * 7, 0)
        assert again.vault.count() == 1
        again.check()
    with Device.open(tmp_path / "device") as again:
        assert again.vault.count() == 1


def test_another_device_in_this_process_is_told_so(used, tmp_path):
    with Device.open(tmp_path / "device") as second:
        used.forget()
        for act in (second.vault.count, second.playlist, second.status):
            with pytest.raises(DeviceClosed, match="forgotten"):
                act()


def test_a_second_name_of_a_database_in_use_shows_nothing_readable(used, holder, tmp_path):
    os.link(tmp_path / "device" / "vault.db", tmp_path / "second name")
    used.forget()
    holder()
    assert MARK.encode() not in every_byte(tmp_path)
    assert not (tmp_path / "second name").read_bytes().startswith(b"SQLite format")
