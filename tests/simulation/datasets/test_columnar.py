"""Populations in folders of columns: the same split that was written, or a sentence about what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fedpersona.errors import DataError, DataNotFound, OutputError, UnknownName
from fedpersona.simulation import RunConfig, datasets, population, simulate
from fedpersona.simulation.datasets import columnar, leave_one_out
from fedpersona.simulation.datasets.columnar import writing
from fedpersona.simulation.population import Population, Split, unit_weights
from fedpersona.simulation.private_table import PrivateTable
from tests.conftest import hold_out, invent

COLUMNS = ("indptr", "items", "weights", "times", "person_ids", "val", "test")


@pytest.fixture
def split():
    return hold_out(invent())


@pytest.fixture
def folder(split, tmp_path):
    columnar.write_split(split, tmp_path / "people")
    return tmp_path / "people"


def listened_once(split):
    train = split.train
    ones = Population(
        train.name,
        train.catalogue,
        train.indptr,
        train.items,
        unit_weights(train.interactions),
        None,
        train.person_ids,
    )
    return Split(ones, split.val, split.test)


@pytest.mark.parametrize("together", [1, 50, 1 << 22])
def test_what_is_written_is_read_again(split, tmp_path, monkeypatch, together):
    monkeypatch.setattr(writing, "_INTERACTIONS", together)
    columnar.write_split(split, tmp_path / "people")
    again = columnar.read(tmp_path / "people")
    assert again.train.data_hash == split.train.data_hash
    assert again.question == split.question
    assert again.catalogue.titles == split.catalogue.titles
    assert again.catalogue.tags == split.catalogue.tags
    assert again.val_negatives is None


def test_negatives_go_with_it(tmp_path):
    split = leave_one_out.by_time(invent(people=12, items=300))
    columnar.write_split(split, tmp_path / "people")
    again = columnar.read(tmp_path / "people")
    assert np.array_equal(again.val_negatives, split.val_negatives)
    assert np.array_equal(again.test_negatives, split.test_negatives)


def test_columns_are_mapped_and_not_read(folder):
    train = columnar.read(folder).train
    assert isinstance(train.items, np.memmap)
    assert isinstance(train.times, np.memmap)
    assert train.folder == folder
    assert not train.items.flags.writeable


def test_weights_of_one_are_not_stored_and_take_no_memory(split, tmp_path):
    ones = listened_once(split)
    columnar.write_split(ones, tmp_path / "people")
    assert not (tmp_path / "people" / "weights.npy").exists()
    again = columnar.read(tmp_path / "people").train
    assert again.weights.strides == (0,)
    assert again.data_hash == ones.train.data_hash
    assert np.array_equal(again.plays(3).weights, ones.train.plays(3).weights)


def test_a_shard_has_the_people_of_its_place(folder, split):
    train = split.train
    shard = columnar.open_shard(folder, train.catalogue, 7, 19, version=columnar.version(folder))
    assert shard.data_hash == train.between(7, 19).data_hash
    assert shard.person_ids[0] == train.person_ids[7]


def test_a_shard_of_another_version_is_refused(folder, split):
    with pytest.raises(DataError, match="another population"):
        columnar.open_shard(folder, split.catalogue, 0, 5, version="0" * 64)


def test_a_simulation_opens_it_by_its_path_or_its_name(folder, split, monkeypatch):
    assert datasets.load(str(folder)).question == split.question
    monkeypatch.chdir(folder.parent)
    assert datasets.load("people").question == split.question
    with pytest.raises(UnknownName, match="converted folder"):
        datasets.load("peoples")


def test_what_devices_keep_lies_in_a_file_where_their_histories_do_and_changes_no_bit(folder, split, monkeypatch):
    tables = []
    begin = PrivateTable.begin_in_a_file
    monkeypatch.setattr(PrivateTable, "begin_in_a_file", lambda *given: tables.append(begin(*given)) or tables[-1])
    hashes = [
        simulate(RunConfig(dataset=str(where), model="fedmf", settings={"rounds": 2}, ceiling=False), split=known)
        for where, known in ((folder, None), ("invented", split))
    ]
    assert len(tables) == 1
    assert isinstance(tables[0].rows, np.memmap)
    assert hashes[0].record.model_hash == hashes[1].record.model_hash


@pytest.mark.parametrize("name", [*COLUMNS, "catalogue", "population"])
def test_a_missing_file_is_named(folder, name):
    path = next(folder.glob(f"{name}.*"))
    path.unlink()
    with pytest.raises(DataNotFound, match=name if name != "population" else "fedpersona convert"):
        columnar.read(folder)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: raw[:40], lambda raw: b""]
)
def test_a_file_that_was_cut_off_or_goes_on_is_refused(folder, name, change):
    path = folder / f"{name}.npy"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=f"{name}.npy.*(cut off|damaged)"):
        columnar.read(folder)


@pytest.mark.parametrize("name", [*COLUMNS, "catalogue"])
def test_one_changed_byte_is_found(folder, name):
    path = next(folder.glob(f"{name}.*"))
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match="hash differs"):
        columnar.read(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "fedpersona population 2"}, "not the header of a population of this version"),
        ({"people": -1}, "people"),
        ({"people": 59}, "indptr.npy.*60 belongs there"),
        ({"interactions": 5}, "items.npy"),
        ({"items": 41}, "41 belong there"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(folder, change, complaint):
    path = folder / "population.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=complaint):
        columnar.read(folder)


@pytest.mark.parametrize(
    ("change", "complaint"), [({"val": None}, "lacks val"), ({"../items": "00"}, r"has an unknown \.\./items")]
)
def test_columns_that_do_not_belong_there_are_refused(folder, change, complaint):
    path = folder / "population.json"
    header = json.loads(path.read_text())
    header["hashes"] = {k: v for k, v in (header["hashes"] | change).items() if v is not None}
    path.write_text(json.dumps(header))
    with pytest.raises(DataError, match=complaint):
        columnar.read(folder)


def test_a_place_that_is_taken_is_left_as_it_is(split, tmp_path):
    (tmp_path / "people").mkdir()
    with pytest.raises(OutputError, match="is there already"):
        columnar.write_split(split, tmp_path / "people")
    assert list(tmp_path.iterdir()) == [tmp_path / "people"]


def test_after_an_error_nothing_is_left(split, tmp_path, monkeypatch):
    monkeypatch.setattr(writing.SplitFolder, "finish", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OutputError, match=r"No space left.*nothing of it was left"):
        columnar.write_split(split, tmp_path / "people")
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_half_way_leaves_nothing_that_passes_for_whole(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from tests.conftest import hold_out, invent\n"
        "from fedpersona.simulation.datasets import columnar\n"
        "def wait(done, total): print(done, flush=True); time.sleep(60)\n"
        "columnar.write_split(hold_out(invent()), Path(sys.argv[1]), wait)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "people")], stdout=subprocess.PIPE) as writing_:
        assert writing_.stdout.readline().strip() == b"60"
        writing_.kill()
    assert not (tmp_path / "people").exists()
    (left,) = tmp_path.iterdir()
    assert not columnar.is_population(left)
    with pytest.raises(DataNotFound, match="is a folder"):
        columnar.read(left)


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 22])
def test_checks_and_hashes_do_not_depend_on_the_size_of_pieces(piece, monkeypatch):
    split = hold_out(invent())
    expected = split.train.data_hash, split.question, split.train.item_counts.tolist()
    monkeypatch.setattr(population, "_PIECE", piece)
    again = hold_out(invent())
    assert (again.train.data_hash, again.question, again.train.item_counts.tolist()) == expected
    train = again.train
    for place in (0, 5, int(train.indptr[3]) + 1, train.interactions - 1):
        for wrong, complaint in ((train.items[place] + 1000, "rows of this catalogue"), (-1, "rows of this catalogue")):
            items = train.items.copy()
            items[place] = wrong
            with pytest.raises(DataError, match=rf"items\[{place}\].*{complaint}"):
                train_with(train, items=items)
        weights = train.weights.copy()
        weights[place] = np.nan
        with pytest.raises(DataError, match=rf"weights\[{place}\]"):
            train_with(train, weights=weights)
    for person in range(0, len(train), 7):
        items, begin = train.items.copy(), int(train.indptr[person])
        items[begin + 1] = items[begin]
        with pytest.raises(DataError, match=rf"items\[{begin + 1}\].*person {person} has"):
            train_with(train, items=items)


def train_with(train, **columns):
    fields = {name: getattr(train, name) for name in ("name", "catalogue", "indptr", "items", "weights", "times")}
    return Population(**(fields | columns), person_ids=train.person_ids)
