"""The benchmark of speed runs where there is no other simulator, and its workloads are what they are said to be."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simulations.benchmarks.peers import table, workload

SPEED = Path(__file__).resolve().parents[2] / "simulations" / "benchmarks" / "speed.py"
PEOPLE, ITEMS = 12, 40


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for person in range(PEOPLE):
        played = rng.permutation(ITEMS)[: 8 + person]
        lines += [f"{person + 1}\t{item + 1}\t3\t{time // 2}" for time, item in enumerate(played)]
    lines += [f"{PEOPLE + 1}\t{item + 1}\t3\t0" for item in range(ITEMS // 2)]
    file = tmp_path / "tiny.inter"
    file.write_text("\n".join(lines))
    return file


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SPEED), *options], capture_output=True, text=True, timeout=120)


def test_it_measures_fedpersona_alone_and_says_what_was_learned(ratings: Path, tmp_path: Path) -> None:
    least = ["--check-rounds", "2", "--rounds", "1", "--repeats", "1", "--seconds", "0", "--seeds", "2"]
    written = ["--json", str(tmp_path / "figures.json")]
    done = run("--engines", "fedpersona", "--data", str(ratings), *least, *written)
    assert done.returncode == 0, done.stderr
    assert "| W, 1 epoch | fedpersona |" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    (row,) = figures["rows"]
    assert row["devices_per_second"] > 0
    assert 0 <= figures["fedpersona_learned"][0]["ours"]["hr@10"][0] <= 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "W needs MovieLens 100K"),
        (["--data", "nowhere.inter"], "there is no file nowhere.inter"),
        (["--repeats", "0"], "--repeats is 0: at least 1"),
        (["--engines", "pfl"], "--engines leaves out fedpersona"),
    ],
)
def test_a_mistake_is_answered_by_a_sentence(options: list[str], sentence: str) -> None:
    done = run("--engines", "fedpersona", *options)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_each_persons_last_play_is_held_out_and_the_later_line_where_times_tie(ratings: Path) -> None:
    lines = [line.split("\t") for line in ratings.read_text().splitlines()[1:]]
    made = workload.load("W", ratings, ratings.parent)
    for person in range(PEOPLE + 1):
        own = [
            (float(time), place, int(item) - 1)
            for place, (who, item, _, time) in enumerate(lines)
            if int(who) == person + 1
        ]
        last = max(own)[2]
        assert made.held is not None
        assert made.held[person] == last
        assert made.history(person).tolist() == sorted(item for *_, item in own if item != last)


def test_invented_histories_are_as_long_as_said_and_hold_nothing_twice() -> None:
    indptr, indices = workload.invent(300, 2000)
    lengths = np.diff(indptr)
    assert lengths.min() >= 10
    assert lengths.max() <= 500
    assert 85 < lengths.mean() < 115
    for begin, end in itertools.pairwise(indptr):
        assert (np.diff(indices[begin:end]) > 0).all()
    again = workload.invent(300, 2000)
    assert np.array_equal(indices, again[1])


def test_an_epoch_has_all_plays_and_four_others_for_each() -> None:
    history = np.array([0, 3, 4, 9], np.int32)
    items, labels = workload.draw_epoch(history, 12, np.random.default_rng(1))
    assert sorted(items[labels == 1.0].tolist()) == history.tolist()
    assert len(items) == 20
    assert not np.isin(items[labels == 0.0], history).any()


def test_the_table_goes_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.put_between_markers(readme, "| new |\n")
    assert readme.read_text() == f"before\n{table.BEGIN}\n| new |\n{table.END}\nafter\n"
    readme.write_text("no place for it")
    with pytest.raises(ValueError, match="goes between them"):
        table.put_between_markers(readme, "| new |")
