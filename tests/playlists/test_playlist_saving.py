"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import sys

import pytest

from fedpersona.errors import ConfigError, OutputError
from fedpersona.playlists import FORMATS, Playlist, Track, render, save

WEEK = Playlist("Week", 1_767_225_599, (Track("Bright", "Ana"),))
LINUX = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["list.txt", "list", ".xspf", "list.m3u", "list.xspf.gz", "", "."])
def test_another_suffix_is_refused_and_the_three_are_named(name, tmp_path):
    with pytest.raises(ConfigError, match=r"\.xspf, \.jspf, \.m3u8"):
        save(WEEK, tmp_path / name)
    assert left(tmp_path) == []


@pytest.mark.parametrize("path", ["missing/list.xspf", "a\0b.xspf", "x" * 300 + ".xspf"])
def test_a_place_that_cannot_be_written_is_an_error_that_leaves_nothing(path, tmp_path):
    with pytest.raises(OutputError, match="name another place"):
        save(WEEK, f"{tmp_path}/{path}")
    assert left(tmp_path) == []


def test_a_folder_of_that_name_is_not_replaced(tmp_path):
    (tmp_path / "list.xspf").mkdir()
    with pytest.raises(OutputError):
        save(WEEK, tmp_path / "list.xspf")
    assert left(tmp_path) == ["list.xspf"]


def test_the_home_of_a_user_who_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(OutputError):
        save(WEEK, "~nobody-of-that-name/list.xspf")


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_as_it_was(step, tmp_path, monkeypatch):
    target = tmp_path / "list.xspf"
    target.write_text("old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "write":
        real = os.fdopen

        def opened(handle, *arguments):
            file = real(handle, *arguments)
            file.close()
            full()

        monkeypatch.setattr(os, "fdopen", opened)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OutputError, match="No space left"):
        save(WEEK, target)
    assert (left(tmp_path), target.read_text()) == (["list.xspf"], "old")


def test_an_interrupt_half_way_goes_on_and_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "list.xspf"
    target.write_text("old")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(WEEK, target)
    assert (left(tmp_path), target.read_text()) == (["list.xspf"], "old")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="denied"):
            save(WEEK, tmp_path / "list.xspf")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_that_of_the_suffix_in_any_case(name, tmp_path):
    for suffix in (name, name.upper()):
        target = save(WEEK, f"{tmp_path}/Une liste à moi.{suffix}")
        assert target.read_bytes() == render(WEEK, name)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert save(WEEK, "~/list.jspf") == tmp_path / "list.jspf"
    assert left(tmp_path) == ["list.jspf"]


@LINUX
def test_a_new_file_is_its_owners_and_one_that_is_replaced_keeps_its_permissions(tmp_path):
    target = save(WEEK, tmp_path / "list.xspf")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.chmod(0o644)
    save(WEEK, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


@LINUX
def test_through_a_link_the_file_it_names_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "list.xspf").symlink_to(tmp_path / "there" / "list.xspf")
    save(WEEK, tmp_path / "list.xspf")
    assert (tmp_path / "list.xspf").is_symlink()
    assert (tmp_path / "there" / "list.xspf").read_bytes() == render(WEEK, "xspf")
    (tmp_path / "loop.xspf").symlink_to(tmp_path / "loop.xspf")
    with pytest.raises(OutputError):
        save(WEEK, tmp_path / "loop.xspf" / "list.xspf")
