"""The export is there whole, its owner's alone, or not at all, whatever ends the process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile

import pytest

from fedpersona.device import export
from fedpersona.device.export import write_export
from fedpersona.errors import OutputError

LISTEN = {"artist": "Nila Brandt", "title": "Harbour"}


class Kept:
    """Something to export; ``during`` is called when a part of it is written already."""

    def __init__(self, during=lambda: None):
        self.during = during

    def parts(self):
        return {"listens.jsonl": self.listens(), "status.json": {"listens": 1}}

    def listens(self):
        yield LISTEN
        self.during()


@pytest.fixture(params=["without a name", "beside", "link forbidden"])
def way(request, monkeypatch):
    """Every way in which the file may come about."""
    if request.param == "beside":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if request.param == "link forbidden":

        def forbidden(*names, **settings):
            raise PermissionError(1, "not permitted")

        monkeypatch.setattr(os, "link", forbidden)


def nameless_files_work(folder) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600))
    except (AttributeError, OSError):
        return False
    return export._OPEN_FILES.is_dir()


def test_it_is_whole_and_its_owners_alone(tmp_path, way):
    target = write_export(tmp_path / "mine.zip", Kept())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.zip"]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["README.txt", "listens.jsonl", "status.json"]
        assert "Harbour" in archive.read("listens.jsonl").decode()
    if os.name != "nt":
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_an_error_half_way_leaves_nothing(tmp_path, way):
    def fail():
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_export(tmp_path / "mine.zip", Kept(fail))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, way):
    def fail():
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_export(tmp_path / "mine.zip", Kept(fail))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_stays(tmp_path, way):
    (tmp_path / "mine.zip").write_text("before")
    with pytest.raises(OutputError, match="already"):
        write_export(tmp_path / "mine.zip", Kept())
    (tmp_path / "link.zip").symlink_to("nowhere")
    with pytest.raises(OutputError, match="already"):
        write_export(tmp_path / "link.zip", Kept())
    assert (tmp_path / "mine.zip").read_text() == "before"


def test_where_a_file_needs_no_name_it_has_none_until_it_is_whole(tmp_path):
    if not nameless_files_work(tmp_path):
        pytest.skip("needs files without a name")
    seen = []
    write_export(tmp_path / "mine.zip", Kept(lambda: seen.append(list(tmp_path.iterdir()))))
    assert seen == [[]]  # once: it was not written again beside the target
    assert (tmp_path / "mine.zip").exists()


def test_what_came_there_meanwhile_stays(tmp_path):
    if not nameless_files_work(tmp_path):
        pytest.skip("needs files without a name")
    target = tmp_path / "mine.zip"
    with pytest.raises(OutputError, match="already"):
        write_export(target, Kept(lambda: target.write_text("meanwhile")))
    assert target.read_text() == "meanwhile"


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, way):
    with pytest.raises(OutputError, match="cannot be written"):
        write_export(tmp_path / "nowhere" / "mine.zip", Kept())


def test_a_name_without_a_folder_is_in_the_current_one(tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    write_export(export.Path("mine.zip"), Kept())
    assert (tmp_path / "mine.zip").exists()


KILLED = """
import sys
from pathlib import Path
from fedpersona.device.export import write_export

class Kept:
    def parts(self):
        return {"listens.jsonl": self.listens()}
    def listens(self):
        for number in range(200_000):
            yield {"artist": "Nila Brandt", "title": f"Harbour {number}"}
        print("writing", flush=True)
        sys.stdin.readline()

write_export(Path(sys.argv[1]), Kept())
"""


def test_a_process_killed_half_way_leaves_none_of_the_history(tmp_path):
    if not nameless_files_work(tmp_path):
        pytest.skip("needs files without a name")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "mine.zip")], **pipes) as other:
        assert other.stdout.readline() == "writing\n"
        other.kill()
        other.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []
