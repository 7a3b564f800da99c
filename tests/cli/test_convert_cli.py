"""``fedpersona convert`` from what a person types to a population that a simulation opens."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedpersona.simulation import datasets
from fedpersona.simulation.datasets import columnar


@pytest.fixture
def plays(tmp_path):
    rng = np.random.default_rng(1)
    pairs = [(user, f"song {track}") for user in range(30) for track in rng.choice(25, 8, replace=False)]
    users, tracks = zip(*pairs, strict=True)
    when = rng.integers(0, 10**6, len(pairs))
    pq.write_table(pa.table({"user": users, "track": tracks, "timestamp": when}), tmp_path / "plays.parquet")
    return tmp_path / "plays.parquet"


def test_a_parquet_file_becomes_a_population_that_is_simulated(command, plays):
    code, out, err = command("convert", plays, "mine", "--person", "user", "--item", "track")
    assert code == 0, err
    assert out == "mine: 30 people, 25 items, 180 plays\n"
    code, out, _ = command("simulate", "mine", "--model", "popularity", "--no-ceiling", "--out", "run", "--json")
    assert code == 0
    assert json.loads(out)["dataset"] == "plays"


def test_a_split_and_invented_people_are_the_same_after_it(command, tmp_path):
    everyone, val, test = np.arange(9), np.full(9, 2), np.full(9, 3)
    pairs = {"train_u": np.repeat(everyone, 2), "train_i": np.tile([0, 1], 9), "val_i": val, "test_i": test}
    np.savez(tmp_path / "small.npz", n_users=9, n_items=4, **pairs)
    for number, source in enumerate((["small.npz"], ["synthetic", "--people", "40", "--seed", "3"])):
        code, _, err = command("convert", source[0], f"out{number}", *source[1:])
        assert code == 0, err
    assert columnar.read(tmp_path / "out0").question == datasets.load(str(tmp_path / "small.npz")).question
    invented = datasets.load("synthetic", people=40, seed=3)
    again = columnar.read(tmp_path / "out1")
    assert again.train.data_hash == invented.train.data_hash
    assert np.array_equal(again.test_negatives, invented.test_negatives)


def test_what_is_wrong_is_one_sentence_and_leaves_nothing(command, plays, tmp_path):
    (tmp_path / "taken").mkdir()
    for arguments, complaint in (
        ((plays, "out"), "person: there is no such column; there are user, track, timestamp"),
        ((plays, "taken", "--person", "user", "--item", "track"), "taken: is there already"),
        (("synthetic", "taken"), "taken: is there already"),
        (("nothing", "out"), "unknown dataset 'nothing'"),
        (("none.parquet", "out"), "none.parquet: there is no such file"),
    ):
        code, out, err = command("convert", *arguments)
        assert (code, out) == (2, "")
        assert complaint in err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"plays.parquet", "taken"}


def test_parquet_is_converted_before_it_is_simulated(command, plays):
    code, _, err = command("simulate", plays)
    assert code == 2
    assert "fedpersona convert" in err
