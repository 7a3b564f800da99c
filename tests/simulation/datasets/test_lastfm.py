import shutil

import numpy as np
import pytest

from fedpersona.errors import DataError, DataNotFound
from fedpersona.simulation.datasets import lastfm

ARTISTS = range(1, 9)
PEOPLE = range(2, 8)


@pytest.fixture
def folder(tmp_path):
    """Six invented people and eight invented artists, of whom person p does not know artist p."""
    folder = tmp_path / "lastfm-2k"
    folder.mkdir()
    plays = [f"{p}\t{a}\t{100 * p + a}" for p in PEOPLE for a in ARTISTS if a != p]
    write(folder, "user_artists.dat", ["userID\tartistID\tweight", *plays])
    write(
        folder, "artists.dat", ["id\tname\turl\tpictureURL", *(f"{a}\tBand {a}\thttp://x\thttp://y" for a in ARTISTS)]
    )
    return folder


def write(folder, name, lines):
    content = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / name).write_bytes(b"\r\n".join(content) + b"\r\n")


def rewrite(folder, name, number, line):
    lines = (folder / name).read_bytes().split(b"\r\n")[:-1]
    lines[number - 1] = line
    write(folder, name, lines)


def refusal(folder):
    with pytest.raises(DataError) as caught:
        lastfm.read(folder)
    return str(caught.value)


def tag(folder, assignments):
    write(folder, "tags.dat", ["tagID\ttagValue", *(f"{t}\ttag {t}" for t in range(1, 8)), b"8\tsm\xf8rrebr\xf8d"])
    rows = [f"{person}\t{artist}\t{tag}\t1\t4\t2009" for person, artist, tag in assignments]
    write(folder, "user_taggedartists.dat", ["userID\tartistID\ttagID\tday\tmonth\tyear", *rows])


def test_people_and_artists_keep_ids_names_and_play_counts(folder):
    split = lastfm.read(folder)
    assert (split.name, split.catalogue.kind) == ("lastfm-2k", "artist")
    assert split.train.person_ids.tolist() == list(PEOPLE)
    assert split.catalogue.ids == tuple(map(str, ARTISTS))
    assert split.catalogue.titles == split.catalogue.artists == tuple(f"Band {a}" for a in ARTISTS)
    assert split.catalogue.label(0) == "Band 1"
    assert split.complete is not None
    own = split.complete.plays(split.complete.person(4))
    assert own.weights.tolist() == [401, 402, 403, 405, 406, 407, 408]
    assert not split.train.timed


@pytest.mark.parametrize("name", ["lastfm-2k", "hetrec2011-lastfm-2k"])
def test_the_folder_and_the_one_it_lies_in_both_do(folder, tmp_path, name):
    moved = folder.rename(tmp_path / name)
    assert lastfm.read(moved).train.data_hash == lastfm.read(tmp_path).train.data_hash


def test_a_file_without_a_heading_is_read_the_same(folder):
    expected = lastfm.read(folder)
    path = folder / "user_artists.dat"
    path.write_bytes(path.read_bytes().split(b"\r\n", 1)[1].replace(b"\r\n", b"\n") + b"\n\n")
    assert lastfm.read(folder).test.tolist() == expected.test.tolist()


def test_the_split_does_not_depend_on_the_order_of_the_file(folder):
    expected = lastfm.read(folder)
    heading, *rows = (folder / "user_artists.dat").read_bytes().split(b"\r\n")[:-1]
    write(folder, "user_artists.dat", [heading, *rows[::-1]])
    assert lastfm.read(folder).test.tolist() == expected.test.tolist()


def test_short_histories_and_rare_artists_are_left_out_until_there_are_none(folder):
    """Person 90 falls below five artists only once the two that nobody else knows are gone."""
    with (folder / "user_artists.dat").open("ab") as file:
        file.writelines(b"90\t%d\t1\r\n" % a for a in (1, 2, 3, 800, 801))
        file.writelines(b"91\t%d\t1\r\n" % a for a in (1, 2, 3, 4))
    split = lastfm.read(folder)
    assert split.train.person_ids.tolist() == list(PEOPLE)
    assert split.catalogue.ids == tuple(map(str, ARTISTS))


def test_nobody_left_is_one_clear_sentence(folder):
    write(folder, "user_artists.dat", ["2\t1\t5"])
    assert refusal(folder) == f"{folder / 'user_artists.dat'}: nobody has 5 artists that 3 people listened to"


def test_names_are_read_whatever_their_encoding(folder):
    rewrite(folder, "artists.dat", 2, "1\t Sigur  Rós \u2028x\thttp://x\thttp://y".encode())
    rewrite(folder, "artists.dat", 3, b"2\tMot\xf6rhead\thttp://x\thttp://y")
    rewrite(folder, "artists.dat", 4, b"3\tN\x81\xffll\thttp://x\thttp://y")
    assert lastfm.read(folder).catalogue.titles[:3] == ("Sigur Rós x", "Motörhead", "N\ufffdÿll")


def test_an_artist_without_a_name_goes_by_its_number(folder):
    rewrite(folder, "artists.dat", 2, b"1\t\thttp://x\thttp://y")
    rewrite(folder, "artists.dat", 3, b"9999\tNobody\thttp://x\thttp://y")
    assert lastfm.read(folder).catalogue.titles[:3] == ("artist 1", "artist 2", "Band 3")


def test_the_five_tags_given_most_come_first_and_ties_by_number(folder):
    once = [(2, 1, t) for t in (7, 6, 5, 4, 3, 2, 1)]
    tag(folder, [*once, (3, 1, 8), (4, 1, 8), (5, 1, 8), (3, 1, 6), (2, 777, 1), (2, 3, 12345)])
    tags = lastfm.read(folder).catalogue.tags
    assert tags[0] == ("smørrebrød", "tag 6", "tag 1", "tag 2", "tag 3")
    assert tags[1:3] == ((), ())


@pytest.mark.parametrize("missing", ["tags.dat", "user_taggedartists.dat"])
def test_without_both_files_of_tags_there_are_none(folder, missing):
    tag(folder, [(2, 1, 1)])
    (folder / missing).unlink()
    assert set(lastfm.read(folder).catalogue.tags) == {()}


def test_no_folder_says_where_to_get_it_and_how_to_name_it():
    with pytest.raises(DataNotFound) as caught:
        lastfm.read(None)
    message = str(caught.value)
    for part in ("https://grouplens.org/datasets/hetrec-2011/", "non-commercial", "--data", "FEDPERSONA_DATA"):
        assert part in message
    assert "\n" not in message


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataNotFound) as caught:
        lastfm.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: lastfm-2k is not there: get it from https://")


def test_one_missing_file_is_named(folder):
    (folder / "artists.dat").unlink()
    with pytest.raises(DataNotFound) as caught:
        lastfm.read(folder)
    assert str(caught.value).startswith(f"{folder / 'artists.dat'}: this file of lastfm-2k is missing")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"2\t1", "2 columns where 3 belong (userID, artistID, weight)"),
        (b"2\t1\t5\t6", "4 columns where 3 belong (userID, artistID, weight)"),
        (b"", "1 columns where 3 belong (userID, artistID, weight)"),
        (b"2\tBand\t5", "artistID is 'Band': a whole number belongs there"),
        (b"2\t1\tnan", "weight is 'nan': a whole number belongs there"),
        (b"2\t1\t1.5", "weight is '1.5': a whole number belongs there"),
        (b"2\t\t5", "artistID is '': a whole number belongs there"),
        (b"2\t1\t" + b"9" * 30, f"weight is '{'9' * 30}': a whole number belongs there"),
        (b"\xff\xfe\t1\t5", "userID is 'ÿþ': a whole number belongs there"),
        (b"2\t-1\t5", "artistID is -1: it cannot be negative"),
        (b"2\t1\t-5", "weight is -5: it cannot be negative"),
        (b"2\t1\t0", "weight is 0: a play count starts at 1"),
        (b"2\t1\t5", "person 2 has item 1 a second time"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(folder, line, problem):
    rewrite(folder, "user_artists.dat", 5, line)
    assert refusal(folder) == f"{folder / 'user_artists.dat'}: line 5: {problem}"


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"userID\tartistID\tweight\r\n"])
def test_a_file_without_lines_is_named(folder, content):
    (folder / "user_artists.dat").write_bytes(content)
    assert refusal(folder) == f"{folder / 'user_artists.dat'}: has no lines to read"


@pytest.mark.parametrize("line", [b"Band 3", b"", b"x\tBand 3\thttp://x"])
def test_a_malformed_artist_is_named_by_its_line(folder, line):
    rewrite(folder, "artists.dat", 4, line)
    assert refusal(folder).startswith(f"{folder / 'artists.dat'}: line 4: an artist's id and a name belong")


def test_a_malformed_assignment_of_a_tag_is_named_by_its_line(folder):
    tag(folder, [(2, 1, 1), (2, 1, 2)])
    rewrite(folder, "user_taggedartists.dat", 3, b"2\t1\t2")
    assert refusal(folder).startswith(f"{folder / 'user_taggedartists.dat'}: line 3: 3 columns where 6 belong")


def test_ids_may_be_huge(folder):
    path = folder / "user_artists.dat"
    path.write_bytes(path.read_bytes().replace(b"\n7\t", b"\n4000000000000000000\t"))
    assert lastfm.read(folder).train.person_ids[-1] == 4 * 10**18


def test_the_split_follows_from_the_pairs_and_its_own_seed(folder):
    split = lastfm.read(folder)
    order = np.argsort(np.random.default_rng(2026).random((6, 7)), axis=1)
    own = np.array([[a - 1 for a in ARTISTS if a != p] for p in PEOPLE])
    assert split.test.tolist() == own[np.arange(6), order[:, 0]].tolist()
    assert split.val.tolist() == own[np.arange(6), order[:, 1]].tolist()


def test_the_folder_is_only_read(folder, tmp_path):
    before = shutil.copytree(folder, tmp_path / "copy")
    lastfm.read(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in before.iterdir()}
