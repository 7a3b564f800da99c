"""A zip is looked through before it is unpacked, never to a disk, and each of its faults has one sentence."""

import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import pytest

from fedpersona import sources
from fedpersona.errors import DataError, UnsafeArchive
from fedpersona.sources import archive
from fedpersona.sources.archive import Archive, is_zip, shown
from tests.sources.exports import BESIDE, exports, packed

HISTORY = exports("spotify-basic")["StreamingHistory_music_0.json"]
KEPT = 5
DAMAGED = "damaged from here on, so the rest is left out: get it anew"


def read(made, name="an.zip"):
    reading = sources.read(made, name=name)
    return list(reading), reading.summary


def refused(made, error=UnsafeArchive):
    with pytest.raises(error) as caught:
        sources.read(made, name="an.zip")
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith("an.zip: ")
    assert "\n" not in text
    return text


def patched(made, old, new):
    data = made.getvalue()
    assert old in data
    return io.BytesIO(data.replace(old, new))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_in_the_order_of_their_names(compression):
    made = packed({"b": b"2", "a": b"1", "c/a": b"3"}, compression=compression)
    members = list(Archive(made, "an.zip"))
    assert [member.name for member in members] == ["Spotify/a", "Spotify/b", "Spotify/c/a"]
    for member, data in zip(members, (b"1", b"2", b"3"), strict=True):
        with member.open() as stream:
            assert stream.read() == data


def test_two_files_of_one_name_are_two_files():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("a.json", HISTORY)
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("a.json", HISTORY)
    listens, summary = read(made)
    assert len(listens) == 2 * KEPT
    assert summary.files == {"Spotify account data": 2}


@pytest.mark.parametrize(
    "name",
    [
        "../a.json",
        "a/../../a.json",
        "/etc/a.json",
        "..",
        "..\\a.json",
        "a\\..\\..\\a.json",
        "\\\\host\\a.json",
        "C:\\a.json",
    ],
)
def test_a_name_that_leads_outside_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "outside of itself" in refused(packed({name: HISTORY}, inside=""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a..b.json", "Spotify\\a.json", "...json", "a:b", "a: b/c", "été/ä.json", "x" * 5000])
def test_a_name_that_is_only_odd_is_read(name):
    listens, _ = read(packed({name: HISTORY}, inside=""))
    assert len(listens) == KEPT


def test_nothing_is_written_while_a_zip_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "an.zip").write_bytes(packed({"a.json": HISTORY}).getvalue())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    list(sources.read("an.zip"))
    assert os.listdir(tmp_path) == ["an.zip"]  # noqa: PTH208


def test_a_bomb_is_refused_before_it_is_unpacked():
    made = packed({"a.json": b"[" + b" " * (archive.RATIO_FROM + 1)})
    tracemalloc.start()
    try:
        text = refused(made)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "over 200 times its size" in text
    assert peak < 2_000_000


def test_a_small_file_may_be_packed_tightly():
    listens, _ = read(packed({"a.json": HISTORY.rstrip() + b" " * 2_000_000}))
    assert len(listens) == KEPT


def test_a_bomb_of_files_that_share_their_bytes_is_refused():
    # Every entry of the directory names the same megabytes; each is harmless by itself.
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a", os.urandom(100_000) + b" " * 1_000_000)
        first = zipped.infolist()[0]
        for _ in range(400):
            zipped.filelist.append(first)
    assert "this zip would unpack to over 200 times" in refused(made)


def test_a_zip_of_too_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    assert "would unpack to more than" in refused(packed({"a": bytes(600), "b": bytes(600)}))


def test_a_zip_of_too_many_files_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    read(packed({**dict.fromkeys("ab", b""), "c": HISTORY}))
    assert "more than 3 files" in refused(packed(dict.fromkeys("abcd", b"")))


def test_a_directory_too_large_for_memory_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "_LONGEST_READ", 100_000)
    assert "files" in refused(packed(dict.fromkeys((f"{number:0200}" for number in range(500)), b"")))


def test_a_password_is_said():
    made = packed({"a.json": HISTORY})
    flags = bytearray(made.getvalue())
    flags[flags.index(b"PK\x01\x02") + 8] |= 1
    assert "protected by a password" in refused(io.BytesIO(bytes(flags)), DataError)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_packing_is_said(compression):
    assert "unusual way" in refused(packed({"a.json": HISTORY}, compression=compression), DataError)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_zip_cut_off_is_said(share):
    data = packed({"a.json": HISTORY, **BESIDE}).getvalue()
    assert "cut off or damaged" in refused(io.BytesIO(data[: int(len(data) * share)]), DataError)


def test_any_flipped_byte_is_read_or_named():
    data = packed({"a.json": HISTORY[:900]}).getvalue()
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0x55
        try:
            read(io.BytesIO(bytes(broken)))
        except DataError as error:
            assert str(error).startswith("an.zip: ")  # noqa: PT017


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_damaged_file_keeps_what_came_before_and_the_other_files(share):
    rows = b"[" + b",".join([HISTORY[HISTORY.index(b"{") : HISTORY.index(b"}") + 1]] * 3000) + b"]"
    made = packed({"a.json": rows, "b.json": HISTORY}, compression=zipfile.ZIP_STORED)
    data = bytearray(made.getvalue())
    data[int(len(rows) * share)] ^= 1
    listens, summary = read(io.BytesIO(bytes(data)))
    assert len(listens) >= KEPT + 1500
    assert summary.files == {"Spotify account data": 2}
    (damage,) = (reason for reason in summary.skipped if "damaged" in reason or "valid JSON" in reason)
    assert summary.first[damage].startswith("Spotify/a.json: ")


def test_a_size_that_lies_is_caught_while_it_is_read():
    made = packed({"a.json": HISTORY, "b.json": HISTORY + b" "})
    listens, summary = read(patched(made, struct.pack("<I", len(HISTORY)), struct.pack("<I", len(HISTORY) - 500)))
    assert len(listens) == KEPT
    assert summary.others == {DAMAGED: 1}


def test_a_size_that_boasts_does_no_harm():
    made = packed({"a.json": HISTORY})
    listens, _ = read(patched(made, struct.pack("<I", len(HISTORY)), struct.pack("<I", len(HISTORY) + 500)))
    assert len(listens) == KEPT


def test_a_size_that_hides_a_bomb_unpacks_no_more_than_it_says():
    bomb = HISTORY + b" " * 30_000_000
    made = packed({"a.json": bomb, "b.json": HISTORY})
    made = patched(made, struct.pack("<I", len(bomb)), struct.pack("<I", len(HISTORY) + 200_000))
    reading = sources.read(made, name="an.zip")
    tracemalloc.start()
    try:
        list(reading)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert reading.bytes_read == reading.bytes_total == 2 * len(HISTORY) + 200_000
    assert reading.summary.skipped[DAMAGED] == 1
    assert reading.summary.first[DAMAGED].startswith("Spotify/a.json: ")


def test_bytes_that_are_not_those_that_were_packed_are_named():
    made = packed({"a.json": HISTORY, "b.json": HISTORY + b" "})
    made = patched(made, struct.pack("<I", zlib.crc32(HISTORY)), bytes(4))
    listens, summary = read(made)
    assert len(listens) == KEPT
    assert summary.others == {DAMAGED: 1}
    assert summary.first[DAMAGED] == "Spotify/a.json"


def test_a_damaged_file_alone_is_an_error_that_says_so():
    made = packed({"a.json": HISTORY})
    with pytest.raises(DataError, match=r"Spotify/a\.json: damaged"):
        read(patched(made, struct.pack("<I", zlib.crc32(HISTORY)), bytes(4)))


def test_a_zip_within_a_zip_is_left_out_and_said():
    inner = packed({"a.json": HISTORY}).getvalue()
    listens, summary = read(packed({"inner.zip": inner, "b.json": HISTORY}))
    assert len(listens) == KEPT
    assert summary.others == {"a zip within a zip: unpack the outer one and give the folder": 1}


def test_a_zip_with_only_a_zip_says_what_to_do():
    made = packed({"inner.zip": packed({"a.json": HISTORY}).getvalue()})
    with pytest.raises(DataError, match=r"inner\.zip: a zip within a zip: unpack"):
        read(made)


def test_a_link_within_a_zip_leads_nowhere():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        link = zipfile.ZipInfo("link.json")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, "/etc/passwd")
        zipped.writestr("a.json", HISTORY)
    listens, summary = read(made)
    assert len(listens) == KEPT
    assert summary.others == {"not a listening history": 1}


def test_an_empty_zip_has_no_history():
    with pytest.raises(DataError, match="no listening history"):
        read(packed({}))


def test_a_zip_behind_other_bytes_is_no_zip():
    # A picture may hide one; what is no zip by its first bytes is not opened as one.
    with pytest.raises(DataError, match="no listening history"):
        read(io.BytesIO(b"\xff\xd8\xff\xe0" + packed({"a.json": HISTORY}).getvalue()))


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"])
def test_a_zip_is_known_by_its_first_bytes(head):
    assert is_zip(head + b"...")
    assert not is_zip(head[:3])


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\x00b", "a\udcffb"])
def test_no_name_can_write_to_a_terminal(name):
    assert shown(name).isprintable()
    assert len(shown(name * 100)) <= 200


def test_names_of_members_are_shown_harmlessly():
    _, summary = read(packed({"\x1b[2Ja.pdf": b"%PDF", "a.json": HISTORY}))
    assert "\x1b" not in str(summary)
    assert "\x1b" not in str(summary.to_dict())


def test_a_file_without_a_name_is_read_or_named_and_never_an_error_of_ours():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("~", b"{}")
    nameless = made.getvalue().replace(b"~", b"\x00")
    with pytest.raises(DataError):
        list(sources.read(io.BytesIO(nameless), name="upload"))
