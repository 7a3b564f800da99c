"""``fedpersona device``: what a person can do from a shell, and one sentence where it cannot be done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest

from fedpersona import sources
from fedpersona.device.device import Device
from tests.device.invented import MARK, NO_KEYRING, write_spotify_zip


class Shell:
    def __init__(self, folder):
        self.folder = folder
        self.environment = {**os.environ, "HOME": str(folder), "FEDPERSONA_PASSPHRASE": "for a test", **NO_KEYRING}

    def __call__(self, *words, code=0, **changes):
        done = subprocess.run(
            [sys.executable, "-m", "fedpersona", "device", *map(str, words)],
            cwd=self.folder,
            env={**self.environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        if code:
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            assert "Traceback" not in done.stderr
        return done

    def begin(self, history=()):
        """Make the device as ``init`` does, and read a history as ``import`` does, without a process for each."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in NO_KEYRING.items():
                patch.setenv(name, value)
            with Device.open(self.folder / ".fedpersona", passphrase=self.environment["FEDPERSONA_PASSPHRASE"]) as made:
                made.vault.add(history)


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture
def used(shell, tmp_path):
    write_spotify_zip(tmp_path / "mine.zip")
    shell.begin(sources.read(tmp_path / "mine.zip"))
    return shell


def test_the_whole_life_of_a_device(shell, tmp_path):
    write_spotify_zip(tmp_path / "mine.zip")
    made = shell("init")
    assert "ready" in made.stdout
    assert "No system keyring" in made.stderr
    assert "61 new listens" in shell("import", "mine.zip").stdout
    again = json.loads(shell("import", "mine.zip", "--json").stdout)
    assert again["added"]["new"] == 0
    assert again["added"]["already"] == 61
    made = shell("playlist", "--out", "weekly.jspf").stdout
    assert "because you played" in made
    assert len(json.loads((tmp_path / "weekly.jspf").read_text())["playlist"]["track"]) == 30
    assert "asked nothing yet" in shell("consent", "show").stdout
    assert "imported" in shell("ledger").stdout
    assert "sent" not in shell("ledger").stdout
    assert "granted" in shell("consent", "grant", "share_update", "--server", "practice").stdout
    assert "contributed to 4 rounds" in shell("join", "practice").stdout
    assert "masked" in shell("ledger").stdout
    assert "whole" in shell("ledger", "verify").stdout
    assert "withdrawn" in shell("consent", "withdraw", "share_update", "--server", "practice").stdout
    assert "not contributed" in shell("join", "practice").stdout
    facts = json.loads(shell("status", "--json", "--check").stdout)
    assert facts["listens"] == 61
    assert facts["contributions"] == 4
    assert facts["whole"] is True
    shell("export", "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert MARK in archive.read("listens.jsonl").decode()
    assert "61 listens" in shell("forget", "--yes").stdout
    assert not (tmp_path / ".fedpersona").exists()


def test_a_device_that_is_not_there_is_not_made_by_looking(shell, tmp_path):
    for words in (["playlist"], ["status"], ["ledger"], ["consent", "show"], ["export", "x.zip"], ["forget", "--yes"]):
        assert "begin with 'fedpersona device init'" in shell(*words, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_no_passphrase_and_no_keyring_is_one_sentence_and_leaves_nothing_open(shell):
    told = shell("init", code=2, FEDPERSONA_PASSPHRASE="").stderr
    assert "passphrase" in told


def test_another_passphrase_is_one_sentence(used):
    assert "passphrase" in used("status", code=2, FEDPERSONA_PASSPHRASE="of somebody else").stderr


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("nothing.json", b""),
        ("letter.txt", b"Dear diary"),
        ("picture.zip", b"PK\x03\x04 and no zip"),
        ("list.json", b'[{"a": 1}]'),
    ],
)
def test_what_is_no_history_is_one_sentence_and_nothing_is_lost(used, tmp_path, name, body):
    (tmp_path / name).write_bytes(body)
    used("import", name, code=2)
    used("import", "not there.zip", code=2)
    assert json.loads(used("status", "--json").stdout)["listens"] == 61


def test_a_purpose_an_address_or_a_suffix_that_is_none_is_one_sentence(used):
    assert "share_update" in used("consent", "grant", "sell", "--server", "practice", code=2).stderr
    assert "address" in used("consent", "grant", "share_update", "--server", "taste", code=2).stderr
    assert "xspf" in used("playlist", "--out", "weekly.pdf", code=2).stderr
    assert "fedpersona device enrol" in used("join", "https://nowhere.example", code=2).stderr


def test_a_notice_is_printed_in_full(used):
    assert "How to take it back" in used("consent", "notice", "share_update").stdout


def test_forget_asks_and_where_nobody_can_be_asked_it_wants_a_word(used, tmp_path):
    assert "--yes" in used("forget", code=2).stderr
    assert (tmp_path / ".fedpersona" / "vault.db").exists()


def test_a_damaged_vault_can_be_forgotten(used, tmp_path):
    database = tmp_path / ".fedpersona" / "vault.db"
    for extra in database.parent.glob("vault.db-*"):
        extra.unlink()
    database.write_bytes(b"\0" * 8192)
    assert "damaged" in used("status", code=2).stderr or "bytes" in used("status", code=2).stderr
    told = used("forget", "--yes")
    assert "deleted unread" in told.stderr
    assert not (tmp_path / ".fedpersona").exists()


def test_global_privacy_control_counts_as_no(used):
    on = {"FEDPERSONA_GLOBAL_PRIVACY_CONTROL": "1"}
    told = used("consent", "grant", "share_update", "--server", "practice", code=2, **on)
    assert "Global Privacy Control" in told.stderr


def test_titles_with_markup_and_escape_codes_are_shown_as_text(used, tmp_path):
    from fedpersona.sources.listen import Listen

    odd = Listen(1_790_000_000, "[red]Band[/red]\x1b[31m", "[link=file:///]x[/link]", (), 200)
    write_spotify_zip(tmp_path / "odd.zip", [odd])
    told = used("import", "odd.zip")
    assert "\x1b" not in told.stdout + told.stderr
    assert "\x1b" not in used("playlist").stdout


@pytest.mark.parametrize("gone", ["key.json", "vault.db"])
def test_what_a_kill_in_the_middle_of_forgetting_left_can_be_forgotten(used, tmp_path, gone):
    folder = tmp_path / ".fedpersona"
    (folder / gone).unlink()
    if gone == "key.json":
        assert "key.json: is missing" in used("status", code=2).stderr
    told = used("forget", "--yes")
    assert "Forgotten" in told.stdout
    assert not folder.exists()


def test_an_emptied_database_without_a_key_is_forgotten_and_no_device_is_made_of_it(shell, tmp_path):
    folder = tmp_path / ".fedpersona"
    folder.mkdir()
    (folder / "vault.db").touch()
    assert "begin with" in shell("status", code=2).stderr
    told = shell("forget", "--yes")
    assert "only a part of it is left" in told.stderr
    assert "all listens" in told.stdout
    assert not folder.exists()


def test_forget_says_what_it_leaves(used, tmp_path):
    used("export", ".fedpersona/mine.zip")
    (tmp_path / ".fedpersona" / "a\x1b[31mletter").touch()
    told = " ".join(used("forget", "--yes").stdout.split())
    assert "left, not ours: a\\x1b[31mletter, mine.zip" in told
    assert "is gone" not in told
    assert sorted(path.name for path in (tmp_path / ".fedpersona").iterdir()) == ["a\x1b[31mletter", "mine.zip"]


def test_forget_says_beforehand_that_a_mistyped_passphrase_does_not_stop_it(used, tmp_path):
    assert "mistyped passphrase does not stop" in " ".join(used("forget", "--help").stdout.split())
    assert "deleted unread" in used("forget", "--yes", FEDPERSONA_PASSPHRASE="mistyped").stderr
    assert not (tmp_path / ".fedpersona").exists()


@pytest.mark.parametrize("command", ["init", "status", "forget", "ledger", "playlist"])
def test_a_home_folder_that_nobody_has_is_one_sentence(shell, tmp_path, command):
    assert "no home folder" in shell(command, "--folder", "~nosuchuser/x", code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_elses_files_is_refused_and_left_as_it_was(shell, tmp_path):
    foreign = tmp_path / "letters"
    foreign.mkdir(mode=0o755)
    foreign.chmod(0o755)
    (foreign / "letter.txt").write_text("not ours")
    assert "holds other files" in shell("init", "--folder", foreign, code=2).stderr
    assert foreign.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in foreign.iterdir()] == ["letter.txt"]
    assert "ready" in shell("init", "--folder", foreign / "mine").stdout


def test_the_notice_is_shown_before_a_yes_is_recorded(used):
    told = used("consent", "grant", "share_update", "--server", "practice").stdout
    assert told.index("What is sent") < told.index("granted")


def test_a_visit_tells_of_itself_only(used):
    used("consent", "grant", "share_update", "--server", "practice")
    assert "sent to" in used("join", "practice").stdout
    used("consent", "withdraw", "share_update", "--server", "practice")
    again = used("join", "practice").stdout
    assert "sent to" not in again
    assert "not contributed" in again


def test_the_status_reads_as_words(used):
    told = used("status").stdout
    for part in ("61 listens", "none: nothing may leave", "under your passphrase", "at least 50 devices", "none yet"):
        assert part in told
    assert "{" not in told


def test_how_long_listens_are_kept_can_be_said(used):
    assert "0 older ones" in used("keep", "900").stdout
    assert json.loads(used("status", "--json").stdout)["retention_days"] == 900


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_on_a_terminal_the_passphrase_of_the_environment_is_taken_and_a_yes_is_asked_for(used):
    import pty

    def on_a_terminal(answer, *words):
        master, slave = pty.openpty()
        running = subprocess.Popen(
            [sys.executable, "-m", "fedpersona", "device", *words],
            cwd=used.folder,
            env=used.environment,
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(slave)
        os.write(master, answer)
        told, asked = running.communicate(timeout=60)
        os.close(master)
        return running.returncode, told, asked

    code, told, asked = on_a_terminal(b"", "status")
    assert (code, "Passphrase" in asked) == (0, False)
    code, told, asked = on_a_terminal(b"n\n", "consent", "grant", "share_update", "--server", "practice")
    assert code == 2
    assert "granted" not in told
    code, told, asked = on_a_terminal(b"y\n", "consent", "grant", "share_update", "--server", "practice")
    assert code == 0
    assert "granted" in told
