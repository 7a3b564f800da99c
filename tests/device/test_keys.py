import json
import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedpersona.device import key_file, keyrings, keys
from fedpersona.device.keys import open_key
from fedpersona.errors import ConfigError, DeviceClosed, DiskFull, KeyUnavailable, OutputError, VaultBusy, WrongKey
from tests.device.machine import Ring


class Locked(Ring):
    """A keyring that is there, and refuses everything."""

    def get_password(self, service, username):
        raise RuntimeError("locked")

    set_password = delete_password = get_password


class Forgetful(Ring):
    """A keyring that takes everything and gives nothing back."""

    def set_password(self, service, username, password):
        pass


@pytest.fixture(autouse=True)
def no_passphrase_around(monkeypatch):
    monkeypatch.delenv("FEDPERSONA_PASSPHRASE", raising=False)


def never():
    raise AssertionError("was asked for")


def change(folder, **values):
    """Change the key file as somebody would who knows its checksum."""
    path = folder / "key.json"
    body = json.loads(path.read_text()) | values
    body.pop("sum")
    body["sum"] = key_file._sum(body)
    path.write_text(json.dumps(body))


def test_a_keyring_is_used_first_and_no_passphrase_is_asked_for(tmp_path):
    ring = Ring()
    key = open_key(tmp_path, never, ring)
    assert (key.kind, key.notices, len(key.secret)) == ("keyring", (), 32)
    ((service, _),) = ring.kept
    assert service == "fedpersona"
    assert open_key(tmp_path, never, ring).secret == key.secret


def test_without_a_keyring_a_passphrase_protects_the_key_and_the_owner_is_told(tmp_path):
    key = open_key(tmp_path, "long and winding", None)
    assert key.kind == "passphrase"
    assert "protected by your passphrase; whoever loses either loses the history" in key.notices[0]
    assert str(tmp_path / "key.json") in key.notices[0]
    assert open_key(tmp_path, lambda: "long and winding", None).secret == key.secret


@pytest.mark.parametrize("ring", [Locked(), Forgetful()])
def test_a_keyring_that_keeps_nothing_counts_as_none(tmp_path, ring):
    assert open_key(tmp_path, "long and winding", ring).kind == "passphrase"
    assert ring.kept == {}


def test_the_environment_stands_in_for_the_passphrase(tmp_path, monkeypatch):
    key = open_key(tmp_path, "long and winding", None)
    monkeypatch.setenv("FEDPERSONA_PASSPHRASE", "long and winding")
    assert open_key(tmp_path, None, None).secret == key.secret


def test_no_keyring_and_no_passphrase_says_what_to_do_and_makes_nothing(tmp_path):
    with pytest.raises(KeyUnavailable, match="set FEDPERSONA_PASSPHRASE"):
        open_key(tmp_path, None, None)
    assert not (tmp_path / "key.json").exists()


@pytest.mark.parametrize("passphrase", ["", "  \n", "\ud800"])
def test_a_passphrase_that_is_none_is_refused(tmp_path, passphrase):
    with pytest.raises(ConfigError, match="choose one"):
        open_key(tmp_path, passphrase, None)
    assert not (tmp_path / "key.json").exists()


def test_letters_may_be_composed_in_any_way(tmp_path):
    key = open_key(tmp_path, "caf\u00e9", None)
    assert open_key(tmp_path, "cafe\u0301", None).secret == key.secret


def test_another_passphrase_is_a_wrong_key(tmp_path):
    open_key(tmp_path, "long and winding", None)
    with pytest.raises(WrongKey, match="try again"):
        open_key(tmp_path, "long and Winding", None)


def test_another_key_in_the_keyring_is_a_wrong_key(tmp_path):
    ring = Ring()
    open_key(tmp_path, None, ring)
    ring.kept = dict.fromkeys(ring.kept, bytes(32).hex())
    with pytest.raises(WrongKey, match="is not this store's"):
        open_key(tmp_path, None, ring)


@pytest.mark.parametrize("value", [None, "", "no hexadecimal", "abcd"])
def test_a_keyring_that_has_lost_the_key_is_named(tmp_path, value):
    ring = Ring()
    open_key(tmp_path, "unused", ring)
    ring.kept = {name: value for name in ring.kept if value is not None}
    with pytest.raises(KeyUnavailable, match="has no key"):
        open_key(tmp_path, "unused", ring)


def test_a_keyring_that_is_locked_or_gone_is_named(tmp_path):
    open_key(tmp_path, None, Ring())
    with pytest.raises(KeyUnavailable, match="unlock it"):
        open_key(tmp_path, "unused", Locked())
    with pytest.raises(KeyUnavailable, match="there is none here"):
        open_key(tmp_path, "unused", None)


@pytest.mark.parametrize("place", range(0, 480, 37))
def test_a_key_file_with_one_byte_changed_is_never_taken_for_a_wrong_passphrase(tmp_path, place):
    secret = open_key(tmp_path, "long and winding", None).secret
    path = tmp_path / "key.json"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(KeyUnavailable, match="put it back from a copy"):
        open_key(tmp_path, "long and winding", None)
    data[place] ^= 1
    path.write_bytes(data)
    assert open_key(tmp_path, "long and winding", None).secret == secret


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format": "fedpersona key 1"}', b"9" * 70_000],
)
def test_a_key_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "key.json").write_bytes(content)
    with pytest.raises(KeyUnavailable, match="is not what was written there"):
        open_key(tmp_path, "long and winding", None)
    assert (tmp_path / "key.json").read_bytes() == content


@pytest.mark.parametrize(
    "values",
    [
        {"n": 1 << 30},
        {"n": 2},
        {"n": (1 << 15) + 1},
        {"n": None},
        {"r": 1 << 20},
        {"p": 1 << 20},
        {"salt": ""},
        {"sealed": "00"},
        {"kind": "other"},
        {"store": "../../x"},
        {"check": "00"},
        {"format": "fedpersona key 2"},
    ],
)
def test_a_hostile_key_file_costs_nothing(tmp_path, values):
    open_key(tmp_path, "long and winding", None)
    change(tmp_path, **values)
    with pytest.raises(KeyUnavailable):
        open_key(tmp_path, "long and winding", None)


def test_a_key_file_of_another_store_does_not_open_this_one(tmp_path):
    open_key(tmp_path / "one", "long and winding", None)
    open_key(tmp_path / "two", "long and winding", None)
    one = json.loads((tmp_path / "one" / "key.json").read_text())
    change(tmp_path / "two", salt=one["salt"], nonce=one["nonce"], sealed=one["sealed"])
    with pytest.raises(WrongKey):
        open_key(tmp_path / "two", "long and winding", None)


def test_a_lost_key_file_is_not_replaced_while_there_is_a_store(tmp_path):
    (tmp_path / "vault.db").write_bytes(b"ciphertext")
    with pytest.raises(KeyUnavailable, match="is missing"):
        open_key(tmp_path, "long and winding", Ring())
    assert not (tmp_path / "key.json").exists()


def test_a_key_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "key.json").mkdir()
    with pytest.raises(KeyUnavailable, match="look at its rights"):
        open_key(tmp_path, "long and winding", None)


def test_rewrapping_changes_the_passphrase_and_not_the_key(tmp_path):
    key = open_key(tmp_path, "long and winding", None)
    before = json.loads((tmp_path / "key.json").read_text())
    key.rewrap("here comes the sun")
    after = json.loads((tmp_path / "key.json").read_text())
    assert not {before[name] for name in ("salt", "nonce", "sealed")} & set(map(str, after.values()))
    assert open_key(tmp_path, "here comes the sun", None).secret == key.secret
    with pytest.raises(WrongKey):
        open_key(tmp_path, "long and winding", None)


def test_rewrapping_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ConfigError, match="choose one"):
        open_key(tmp_path / "one", "long and winding", None).rewrap("")
    with pytest.raises(ConfigError, match="no passphrase to change"):
        open_key(tmp_path / "two", None, Ring()).rewrap("here comes the sun")


def test_a_full_disk_while_rewrapping_keeps_the_old_passphrase(tmp_path, monkeypatch):
    key = open_key(tmp_path, "long and winding", None)

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="nothing was changed"):
            key.rewrap("here comes the sun")
    assert open_key(tmp_path, "long and winding", None).secret == key.secret
    assert [file.name for file in tmp_path.glob("key.json*")] == ["key.json"]


def test_what_a_crash_left_half_written_is_replaced(tmp_path):
    (tmp_path / "key.json.new").write_bytes(b"half a")
    key = open_key(tmp_path, "long and winding", None)
    assert open_key(tmp_path, "long and winding", None).secret == key.secret
    assert not (tmp_path / "key.json.new").exists()


def test_destroying_removes_file_and_entry_and_the_key_from_the_object(tmp_path):
    ring = Ring()
    for folder, key in ((tmp_path / "a", None), (tmp_path / "b", "long and winding")):
        opened = open_key(folder, key, ring if key is None else None)
        second = folder / "hard link"
        os.link(folder / "key.json", second)
        before = second.read_bytes()
        opened.destroy()
        opened.destroy()
        assert not (folder / "key.json").exists()
        assert before[:20] not in second.read_bytes()
        with pytest.raises(DeviceClosed, match="was destroyed"):
            _ = opened.secret
    assert ring.kept == {}


def test_a_keyring_that_will_not_delete_is_named_and_the_file_is_gone(tmp_path):
    ring = Ring()
    key = open_key(tmp_path, None, ring)
    ring.delete_password = Locked().delete_password
    with pytest.raises(KeyUnavailable, match="delete it there"):
        key.destroy()
    assert not (tmp_path / "key.json").exists()


def test_nothing_shows_the_key(tmp_path):
    key = open_key(tmp_path, "long and winding", None)
    assert repr(key) == str(key) == "Key(passphrase)"
    assert key.secret.hex() not in (tmp_path / "key.json").read_text()
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_folder_and_files_are_their_owners_alone(tmp_path):
    folder = tmp_path / "made" / "here"
    open_key(folder, "long and winding", None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    folder.chmod(0o755)
    open_key(folder, "long and winding", None)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    open_key("~/.fedpersona", "long and winding", None)
    assert (tmp_path / ".fedpersona" / "key.json").exists()


def test_a_file_a_link_or_nonsense_for_a_folder_is_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.touch()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    cases = ((file, "is a file"), (link, "is a link"), (file / "below", "cannot be made"), ("\0", "not a path"))
    for folder, words in cases:
        with pytest.raises(OutputError, match=words):
            open_key(folder, "long and winding", None)


def test_a_folder_with_only_somebody_elses_files_is_refused_and_not_touched(tmp_path):
    (tmp_path / "letter.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(OutputError, match="holds other files"):
        open_key(tmp_path, "long and winding", None)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", [".DS_Store", "lost+found", "key.lock", "key.json.new"])
def test_what_the_system_or_a_crash_left_in_a_folder_does_not_make_it_somebody_elses(tmp_path, name):
    (tmp_path / name).touch()
    open_key(tmp_path, "long and winding", None)
    (tmp_path / "letter.txt").touch()
    open_key(tmp_path, "long and winding", None)


@pytest.mark.parametrize("folder", ["~nosuchuser", "~nosuchuser/x"])
def test_a_home_folder_that_nobody_has_is_one_sentence(folder):
    with pytest.raises(OutputError, match="no home folder"):
        open_key(folder, "long and winding", None)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(OutputError, match="cannot be written"):
        open_key(tmp_path, "long and winding", None)


def test_a_lock_that_another_holds_is_waited_for_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(key_file, "_LOCK_SECONDS", 0.05)
    with key_file.locked(tmp_path), pytest.raises(VaultBusy, match="try again"):
        open_key(tmp_path, "long and winding", None)


def test_the_slower_of_two_takes_the_quicker_ones_key_and_leaves_no_entry(tmp_path, monkeypatch):
    ring = Ring()
    quicker = []
    storing = keys._storing

    def overtaken(chosen, store, secret):
        found = storing(chosen, store, secret)
        if not quicker:
            quicker.append(None)
            quicker[0] = open_key(tmp_path, None, ring)
        return found

    monkeypatch.setattr(keys, "_storing", overtaken)
    slower = open_key(tmp_path, None, ring)
    assert slower.secret == quicker[0].secret
    assert len(ring.kept) == 1


def test_processes_that_begin_at_once_get_one_key(tmp_path):
    script = (
        "import sys\nfrom fedpersona.device.keys import open_key\n"
        "sys.stdin.read(1)\n"
        "print(open_key(sys.argv[1], 'long and winding', None).secret.hex())\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "new")]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    found = set()
    for one in running:
        one.stdin.write(b"x")
        one.stdin.flush()
    for one in running:
        found.add(one.communicate(timeout=30)[0])
    assert len(found) == 1
    assert len(found.pop()) == 65


def test_no_crash_while_the_key_is_made_leaves_a_store_without_one(tmp_path):
    script = (
        "import sys, os\nfrom pathlib import Path\nfrom fedpersona.device.keys import open_key\n"
        "from fedpersona.device.store import Store\n"
        "steps = int(sys.argv[2])\n"
        "def count(event, args):\n"
        "    global steps\n"
        "    if event in ('open', 'os.rename', 'os.remove', 'os.chmod') and sys.argv[1] in str(args):\n"
        "        steps -= 1\n"
        "        if steps == 0:\n"
        "            os._exit(9)\n"
        "sys.addaudithook(count)\n"
        "Store(Path(sys.argv[1]) / 'vault.db', open_key(sys.argv[1], 'p', None).secret).close()\n"
    )
    folder = tmp_path / "x"
    codes = []
    for step in range(1, 30):
        done = subprocess.run([sys.executable, "-c", script, str(folder), str(step)], check=False, timeout=30)
        codes.append(done.returncode)
        key = open_key(folder, "p", None)
        assert open_key(folder, "p", None).secret == key.secret
        for file in folder.iterdir():
            file.unlink()
        if done.returncode == 0:
            break
    assert set(codes[:-1]) == {9}
    assert codes[-1] == 0
    assert len(codes) > 4


def test_a_keyring_that_keeps_secrets_in_plain_sight_counts_as_none(monkeypatch):
    keyring = pytest.importorskip("keyring")
    plain = Ring()
    plain.priority = 0.5
    monkeypatch.setattr(keyring, "get_keyring", lambda: plain)
    assert keyrings.system_keyring() is None
    trusted = Ring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: trusted)
    assert keyrings.system_keyring() is trusted


def test_opening_with_a_passphrase_does_not_look_for_a_keyring(tmp_path):
    open_key(tmp_path, "long and winding", None)
    script = (
        "import sys\nfrom fedpersona.device.keys import open_key\n"
        "open_key(sys.argv[1], 'long and winding')\nprint('keyring' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False\n"
    assert Path(tmp_path / "key.json").exists()
