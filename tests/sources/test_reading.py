"""A file, a folder, a zip or an upload is read through one call, with an account of everything in it."""

import io
import json
import os
import shutil
import socket
import sys

import pytest

from fedpersona import sources
from fedpersona.errors import DataError, DataNotFound, UnsafeArchive
from fedpersona.sources import FORMATS, Listen, Summary, archive, places
from fedpersona.sources.detect import recognise
from tests.sources.exports import BESIDE, GOLDEN, exports, packed

EXTENDED = exports("spotify-extended")
BASIC = exports("spotify-basic")
(BASIC_NAME,) = BASIC
KEPT = {"Streaming_History_Audio_2024_0.json": 8, "endsong_0.json": 3, BASIC_NAME: 5}
NOT_A_HISTORY = "not a listening history"


def lay(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def outcome(source, **options):
    reading = sources.read(source, **options)
    return list(reading), reading.summary


# A file, a folder, a zip, an upload


@pytest.mark.parametrize("as_text", [str, lambda path: path])
def test_a_file(tmp_path, as_text):
    lay(tmp_path, BASIC)
    listens, summary = outcome(as_text(tmp_path / BASIC_NAME))
    assert len(listens) == summary.kept == 5
    assert all(isinstance(listen, Listen) for listen in listens)
    assert summary.read == 13
    assert summary.files == {"Spotify account data": 1}
    assert summary.others == {}
    assert summary.first["no time that can be read"] == f"{BASIC_NAME}: record 8"


def test_a_file_is_known_by_its_content_whatever_its_name(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(BASIC[BASIC_NAME])
    assert len(outcome(tmp_path / "holiday.jpg")[0]) == 5
    (tmp_path / "a zip without its name").write_bytes(packed(BASIC).getvalue())
    assert len(outcome(tmp_path / "a zip without its name")[0]) == 5


def test_a_folder_with_folders_and_other_files(tmp_path):
    lay(tmp_path, {f"deep/er/{name}": data for name, data in EXTENDED.items()})
    lay(tmp_path, {**BASIC, **BESIDE})
    listens, summary = outcome(tmp_path)
    assert len(listens) == sum(KEPT.values())
    assert summary.files == {"Spotify account data": 1, "Spotify extended streaming history": 2}
    assert summary.others == {NOT_A_HISTORY: len(BESIDE)}
    assert summary.first["a private session"] == "deep/er/Streaming_History_Audio_2024_0.json: record 8"


def test_every_format_in_one_folder(tmp_path):
    shutil.copytree(GOLDEN, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.expected.json"))
    _, summary = outcome(tmp_path)
    assert set(summary.files) == {one.name for one in FORMATS}
    assert summary.others == {}
    expected = [json.loads(path.read_text(encoding="utf-8")) for path in GOLDEN.rglob("*.expected.json")]
    assert summary.kept == sum(len(one["listens"]) for one in expected)
    assert sum(summary.skipped.values()) == sum(sum(one["skipped"].values()) for one in expected)


def test_the_order_is_that_of_the_names(tmp_path):
    lay(tmp_path, {"b.json": BASIC[BASIC_NAME], "a/z.json": EXTENDED["endsong_0.json"], "c.json": b"x"})
    first = [listen.played_at for listen in sources.read(tmp_path)]
    assert first == [listen.played_at for listen in sources.read(tmp_path)]
    (shorter,) = {len(list(sources.read(tmp_path / "a")))}
    assert first[:shorter] == [listen.played_at for listen in sources.read(tmp_path / "a")]


def test_a_zip(tmp_path):
    (tmp_path / "my.zip").write_bytes(packed({**EXTENDED, **BESIDE}).getvalue())
    listens, summary = outcome(tmp_path / "my.zip")
    assert len(listens) == 11
    assert summary.others == {NOT_A_HISTORY: len(BESIDE)}
    assert summary.first["a podcast"] == "Spotify/Streaming_History_Audio_2024_0.json: record 9"


def test_zips_in_a_folder_are_read_and_named(tmp_path):
    (tmp_path / "1.zip").write_bytes(packed(EXTENDED).getvalue())
    (tmp_path / "2.zip").write_bytes(packed(BASIC).getvalue())
    listens, summary = outcome(tmp_path)
    assert len(listens) == 16
    assert summary.first["a podcast"] == "1.zip/Spotify/Streaming_History_Audio_2024_0.json: record 9"


def test_a_bad_zip_in_a_folder_costs_nothing_else(tmp_path):
    good = packed(BASIC)
    (tmp_path / "1.zip").write_bytes(good.getvalue()[:300])
    (tmp_path / "2.zip").write_bytes(good.getvalue())
    (tmp_path / "3.zip").write_bytes(packed({"../x": b""}, inside="").getvalue())
    listens, summary = outcome(tmp_path)
    assert len(listens) == 5
    assert summary.others == {
        "this zip is cut off or damaged: get it anew": 1,
        "this zip names a file outside of itself, so it is not opened": 1,
    }
    assert summary.first["this zip is cut off or damaged: get it anew"] == "1.zip"


def test_an_upload_in_memory():
    upload = packed(EXTENDED)
    upload.seek(7)
    listens, summary = outcome(upload, name="upload.zip")
    assert len(listens) == 11
    assert summary.files == {"Spotify extended streaming history": 2}
    assert not upload.closed


def test_an_upload_that_is_no_zip_has_the_name_it_is_given():
    _, summary = outcome(io.BytesIO(BASIC[BASIC_NAME]), name="mine.json")
    assert summary.first["no time that can be read"] == "mine.json: record 8"
    _, summary = outcome(io.BytesIO(BASIC[BASIC_NAME]))
    assert summary.first["no time that can be read"] == "the uploaded file: record 8"


def test_an_open_file(tmp_path):
    lay(tmp_path, BASIC)
    with (tmp_path / BASIC_NAME).open("rb") as file:
        assert len(outcome(file)[0]) == 5
        assert not file.closed


# What cannot be read


@pytest.mark.parametrize("make", [lambda: io.StringIO("[]"), lambda: open(os.devnull), object])  # noqa: PTH123, SIM115
def test_what_is_no_binary_file_is_said(make):
    thing = make()
    with pytest.raises(DataError, match=r"open"):
        sources.read(thing, name="it")
    if hasattr(thing, "close"):
        thing.close()


def test_an_upload_that_was_closed_is_said():
    upload = io.BytesIO(b"[]")
    upload.close()
    with pytest.raises(DataError, match=r"^it: this open file is closed"):
        sources.read(upload, name="it")


@pytest.mark.parametrize("name", ["nope", "nope/", "no/pe", "n" * 200])
def test_nothing_there(tmp_path, name):
    with pytest.raises(DataNotFound, match="no such file or folder"):
        sources.read(tmp_path / name)


@pytest.mark.parametrize("name", ["\0", "n" * 5000, "~nobody-of-this-name/x"])
def test_what_is_no_path(name):
    with pytest.raises(DataError) as caught:
        sources.read(name)
    assert str(caught.value).isprintable()


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    lay(tmp_path, BASIC)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(outcome(f"~/{BASIC_NAME}")[0]) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such files")
def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a file or folder"):
        sources.read(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)
        server.bind("s")
        lay(tmp_path, BASIC)
        listens, summary = outcome(tmp_path)
    assert len(listens) == 5
    assert summary.others == {}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
def test_a_file_without_the_right_to_read_it(tmp_path):
    lay(tmp_path, {**BASIC, "locked.json": b"[]"})
    (tmp_path / "locked.json").chmod(0)
    with pytest.raises(DataError, match=r"cannot be (read|opened)"):
        sources.read(tmp_path / "locked.json")
    listens, summary = outcome(tmp_path)
    assert len(listens) == 5
    assert summary.others == {"cannot be opened, so it was left out": 1}


def test_a_folder_that_may_not_be_listed_is_said(tmp_path, monkeypatch):
    lay(tmp_path, {**BASIC, "locked/a.json": b"[]"})
    listed = os.scandir

    def scandir(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(places.os, "scandir", scandir)
    listens, summary = outcome(tmp_path)
    assert len(listens) == 5
    assert summary.others == {"cannot be opened, so it was left out": 1}
    assert summary.first["cannot be opened, so it was left out"] == "locked"
    with pytest.raises(DataError, match=r"cannot be (read|opened)"):
        sources.read(tmp_path / "locked")


def test_a_file_that_goes_away_is_said(tmp_path):
    lay(tmp_path, {**BASIC, "gone.json": b"[]"})
    reading = sources.read(tmp_path)
    (tmp_path / "gone.json").unlink()
    assert len(list(reading)) == 5
    assert reading.summary.others == {"cannot be opened, so it was left out": 1}


def test_a_disk_that_fails_keeps_what_came_before(tmp_path, monkeypatch):
    rows = b"[" + b",".join([json.dumps(json.loads(BASIC[BASIC_NAME])[0]).encode()] * 9000) + b"]"
    lay(tmp_path, {"a.json": rows, "b.json": BASIC[BASIC_NAME]})

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 500_000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    def failing(path, mode="r"):
        return Failing(rows) if path.name == "a.json" else io.BytesIO(BASIC[BASIC_NAME])

    reading = sources.read(tmp_path)
    monkeypatch.setattr(places.Path, "open", failing)
    listens = list(reading)
    assert 3000 < len(listens) < 9005
    ((reason, place),) = ((r, p) for r, p in reading.summary.first.items() if "damaged" in r)
    assert place == f"a.json: after record {len(listens) - 5}"
    assert reading.summary.skipped[reason] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links ask for rights here")
def test_links_in_a_folder_are_not_followed(tmp_path):
    lay(tmp_path, {f"outside/{BASIC_NAME}": BASIC[BASIC_NAME], "inside/a.json": BASIC[BASIC_NAME]})
    (tmp_path / "inside" / "link.json").symlink_to(tmp_path / "outside" / BASIC_NAME)
    (tmp_path / "inside" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "inside" / "round").symlink_to(tmp_path / "inside")
    (tmp_path / "inside" / "broken").symlink_to(tmp_path / "nowhere")
    listens, summary = outcome(tmp_path / "inside")
    assert len(listens) == 5
    assert summary.others == {}
    # The one that a person names is meant.
    assert len(outcome(tmp_path / "inside" / "link.json")[0]) == 5
    assert len(outcome(tmp_path / "inside" / "folder")[0]) == 5
    with pytest.raises(DataNotFound):
        sources.read(tmp_path / "inside" / "broken")


def test_a_folder_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "MOST_FILES", 3)
    lay(tmp_path, dict.fromkeys(("a", "b", "c", "d"), b""))
    with pytest.raises(DataError, match="give the folder of the export alone"):
        sources.read(tmp_path)


@pytest.mark.parametrize("files", [{}, {"empty": b""}, BESIDE, {"a.json": b"[]"}, {"a": b"\xff\xfe"}])
def test_no_history_at_all_says_what_is_known(tmp_path, files):
    reading = sources.read(lay(tmp_path, files))
    with pytest.raises(DataError) as caught:
        list(reading)
    assert type(caught.value) is DataError
    assert str(caught.value).startswith(f"{tmp_path}: ")
    for one in FORMATS:
        assert one.name in str(caught.value)
    assert reading.summary.others == ({NOT_A_HISTORY: len(files)} if files else {})


def test_an_unsafe_zip_is_refused_at_once(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed({"../x": b""}, inside="").getvalue())
    with pytest.raises(UnsafeArchive):
        sources.read(tmp_path / "a.zip")


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(BASIC[BASIC_NAME].decode().encode(encoding))
    listens, _ = outcome(tmp_path / "a.json")
    assert [listen.title for listen in listens][3] == "波の歌"


def test_a_wrong_encoding_costs_the_names_it_spoilt():
    text = json.dumps([{**json.loads(BASIC[BASIC_NAME])[0], "trackName": name} for name in ("é", "e", "ü")])
    listens, summary = outcome(io.BytesIO(json.dumps(json.loads(text), ensure_ascii=False).encode("latin-1")))
    assert [listen.title for listen in listens] == ["e"]
    assert summary.skipped == {"letters that were lost to a wrong encoding: save the file as UTF-8": 2}


# Twice, half-way, and how far


def test_reading_twice_gives_the_same_and_counts_anew():
    reading = sources.read(packed({**EXTENDED, **BESIDE}), name="a.zip")
    first = list(reading)
    counted = reading.summary
    assert list(reading) == first
    assert reading.summary == counted
    assert reading.summary is not counted


def test_two_iterations_at_once_do_not_disturb_each_other():
    reading = sources.read(packed(EXTENDED), name="a.zip")
    pairs = list(zip(reading, reading, strict=True))
    assert [one for one, _ in pairs] == [two for _, two in pairs]
    assert reading.summary.kept == 11


def test_giving_up_half_way_closes_the_files(tmp_path):
    (tmp_path / "a.zip").write_bytes(packed(EXTENDED).getvalue())
    # An open file would be a ResourceWarning, and so an error here.
    iterator = iter(sources.read(tmp_path / "a.zip"))
    next(iterator)
    iterator.close()


def test_the_summary_fills_on_the_way():
    reading = sources.read(io.BytesIO(BASIC[BASIC_NAME]))
    assert reading.summary == Summary()
    next(iter(reading))
    assert reading.summary.kept == 1


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_progress_goes_up_to_the_whole(tmp_path, form):
    lay(tmp_path / "in", {**EXTENDED, **BASIC, **BESIDE})
    whole = sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    source = tmp_path / "in" if form == "folder" else packed({**EXTENDED, **BASIC, **BESIDE})
    reading = sources.read(source)
    assert (reading.bytes_read, reading.bytes_total) == (0, whole)
    seen = [reading.bytes_read for _ in reading]
    assert seen == sorted(seen)
    assert reading.bytes_read == whole
    assert seen[-1] <= whole


def test_progress_of_a_folder_with_a_zip_and_a_bad_zip_ends_at_the_whole(tmp_path):
    lay(tmp_path, {"a.zip": packed(EXTENDED).getvalue(), "b.zip": packed(BASIC).getvalue()[:99], **BASIC})
    reading = sources.read(tmp_path)
    list(reading)
    assert reading.bytes_read == reading.bytes_total > 0


# The account


def test_the_account_in_words():
    summary = Summary()
    assert str(summary) == "0 of 0 records kept"
    summary.kept = 1200
    summary.files = {"Last.fm CSV": 1, "Spotify account data": 2}
    summary.skip("a podcast", "a.json: record 3")
    for number in range(34):
        summary.skip("played for less than 30 seconds", f"a.json: record {number + 5}")
    summary.leave_out(NOT_A_HISTORY, "a.pdf")
    assert str(summary).split("\n") == [
        "1,200 of 1,235 records kept, from Last.fm CSV (1 file), Spotify account data (2 files)",
        "  34 records left out: played for less than 30 seconds (first: a.json: record 5)",
        "  1 record left out: a podcast (first: a.json: record 3)",
        "  1 file left out: not a listening history (first: a.pdf)",
    ]


def test_the_account_as_json():
    _, summary = outcome(packed({**EXTENDED, **BESIDE}), name="a.zip")
    facts = json.loads(json.dumps(summary.to_dict()))
    assert facts["read"] == summary.read == 27
    assert facts["kept"] == 11
    assert facts["skipped"]["a podcast"] == {
        "count": 2,
        "first": "Spotify/Streaming_History_Audio_2024_0.json: record 9",
    }
    assert facts["files"] == {"Spotify extended streaming history": 2}
    assert facts["other_files"] == {
        NOT_A_HISTORY: {"count": 6, "first": "Spotify/Playlist1.json"},
    }


def test_the_account_tells_nothing_of_what_was_played():
    listens, summary = outcome(packed(EXTENDED))
    words = f"{summary}{summary!r}{summary.to_dict()}"
    for listen in listens:
        assert listen.title not in words
        assert listen.artist not in words


def test_a_reading_shows_only_counts():
    reading = sources.read(io.BytesIO(BASIC[BASIC_NAME]), name="secret.json")
    list(reading)
    size = len(BASIC[BASIC_NAME])
    assert repr(reading) == f"Reading(5 kept, {size:,} of {size:,} bytes)"


# The formats


def test_formats_have_names_of_their_own():
    assert len({one.name for one in FORMATS}) == len(FORMATS) == 7


@pytest.mark.parametrize("head", [b"", b"PK", b"[", b"\xff\xfe\x00", b"\x00" * 70_000, b"\xef\xbb\xbf"])
def test_what_is_nothing_is_no_format(head):
    assert recognise(head) is None


@pytest.mark.parametrize("name", sources.__all__)
def test_public_names_load(name):
    assert getattr(sources, name) is not None
    assert name in dir(sources)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonesuch"):
        sources.nonesuch  # noqa: B018


def test_limits_leave_room_for_real_exports():
    assert archive.MOST_FILES >= 10_000
    assert archive.MOST_BYTES >= 4 << 30
