"""The command line as a person and as a machine use it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.conftest import hold_out, invent

TINY = ("--people", "150", "--items", "120", "--set", "dim=6")


def save_split(path, **changes):
    """Write an invented split in the .npz form, with some arrays changed."""
    split = hold_out(invent())
    people = np.repeat(np.arange(len(split.train)), np.diff(split.train.indptr))
    arrays = {
        "n_users": np.int64(60),
        "n_items": np.int64(40),
        "train_u": people,
        "train_i": split.train.items.astype(np.int64),
        "val_i": split.val.astype(np.int64),
        "test_i": split.test.astype(np.int64),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_a_run_prints_one_json_object_and_leaves_a_whole_folder(command, tmp_path):
    code, out, err = command("simulate", "synthetic", *TINY, "--json", "--out", "runs/first")
    assert code == 0, err
    summary = json.loads(out)
    assert set(summary["metrics"]["test"]) >= {"ndcg@10", "recall@20", "mrr", "hr@10", "coverage"}
    assert summary["rounds"] == 4
    assert summary["bytes_up_per_device"] == 4 * 4 * (120 * 6 + 120 + 1)
    assert summary["floor"]["ndcg@10"] > 0
    assert set(summary["ceilings"]) == {"subspace, central", "item kNN, central"}
    files = {path.name for path in (tmp_path / "runs/first").iterdir()}
    assert files >= {"run.json", "report.md", "report.html", "model.safetensors", "per_person.npz"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]


def test_the_same_run_json_run_again_gives_the_same_numbers_to_the_bit(command):
    options = ("--dropout", "0.1", "--cohort", "100", "--model", "ials", "--set", "dim=4", "--seed", "7")
    code, first, err = command("simulate", "synthetic", *TINY[:4], *options, "--json", "--out", "a")
    assert code == 0, err
    code, second, err = command("simulate", "a/run.json", "--workers", "3", "--json", "--out", "b")
    assert code == 0, err
    one, two = json.loads(first), json.loads(second)
    for summary in (one, two):
        del summary["seconds"], summary["run"]
    assert one == two


def test_a_recorded_run_on_data_that_have_changed_is_refused(command):
    save_split("split.npz")
    assert command("simulate", "split.npz", "--set", "dim=3", "--no-ceiling", "--out", "a")[0] == 0
    other = hold_out(invent())
    save_split("split.npz", test_i=other.val.astype(np.int64), val_i=other.test.astype(np.int64))
    for changes in ({}, {"train_ts": np.arange(other.train.interactions)}):
        if changes:
            save_split("split.npz", **changes)
        code, _, err = command("simulate", "a")
        assert code == 2
        assert "split.npz: the data are not those of the recorded run any more" in err


def test_paths_that_look_like_markup_are_paths(command, tmp_path):
    code, out, err = command("simulate", save_split("q[x].npz"), "--set", "dim=3", "--no-ceiling", "--out", "o[red]z")
    assert code == 0, err
    assert "o[red]z/report.html" in out
    assert (tmp_path / "o[red]z/report.html").is_file()


def test_a_link_is_no_new_folder_and_is_refused_before_any_work(command, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for out in ("link", "."):
        code, _, err = command("simulate", "synthetic", *TINY, "--out", out)
        assert code == 2
        assert "round" not in err


def test_nothing_of_a_recorded_run_may_be_changed(command):
    assert command("simulate", "synthetic", *TINY, "--out", "a", "--no-ceiling", "--json")[0] == 0
    code, _, err = command("simulate", "a", "--seed", "3")
    assert code == 2
    assert "leave out --seed" in err


def test_a_listener_gets_thirty_items_they_never_played_with_a_reason_each(command):
    code, out, err = command("simulate", save_split("split.npz"), "--set", "dim=3", "--listener", "4", "--json")
    assert code == 0, err
    listener = json.loads(out)["listener"]
    played = hold_out(invent()).everything(4)
    titles = {f"item {row}" for row in played.items.tolist()}
    listed = [entry["title"] for entry in listener["list"]]
    assert len(listed) == len(set(listed)) == min(30, 40 - len(played))
    assert not titles & set(listed)
    assert all(entry["reason"] for entry in listener["list"])


def test_a_person_reads_a_table_and_where_the_report_is(command):
    code, out, _ = command("simulate", "synthetic", *TINY[:4], "--model", "ease", "--set", "ridge=20", "--out", "r")
    assert code == 0
    assert "popularity" in out
    assert "ease" in out
    assert "report.html" in out
    assert "\x1b" not in out


def test_runs_are_compared_side_by_side(command):
    for model in ("popularity", "ease"):
        assert command("simulate", "synthetic", *TINY[:4], "--model", model, "--no-ceiling", "--out", model)[0] == 0
    code, out, err = command("compare", "popularity", "ease")
    assert code == 0, err
    assert "ease" in out
    assert "|" in out
    code, out, _ = command("compare", "popularity", "ease", "--style", "latex")
    assert code == 0
    assert r"\begin{tabular}" in out


def test_doctor_says_what_is_here(command):
    code, out, _ = command("doctor", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["data"]) == {"synthetic", "lastfm-2k", "ml-100k", "ml-1m"}
    assert command("doctor")[0] == 0


@pytest.mark.parametrize("name", ["demo", "simulate", "compare", "doctor"])
def test_the_help_of_each_command_shows_an_example(command, name):
    code, out, _ = command(name, "--help")
    assert code == 0
    assert f"fedpersona {name}" in re.sub(r"\s+", " ", out.split("Example")[1])


def test_the_examples_of_the_help_work_one_after_another(command, tmp_path):
    examples = []
    for name in ("demo", "simulate", "compare", "doctor"):
        text = command(name, "--help")[1].split("Example", 1)[1].split("╭")[0]
        examples += re.findall(r"fedpersona .*", text)
    # The whole demo takes a minute or two: tests/cli/test_demo.py runs it.
    runnable = [line.split()[1:] for line in examples if "~/" not in line and line.strip() != "fedpersona demo"]
    assert [line[0] for line in runnable] == ["demo", "simulate", "simulate", "simulate", "compare", "doctor"]
    for arguments in runnable:
        code, out, err = command(*arguments)
        assert code == 0, (arguments, err)
        assert out
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "synthetic-subspace",
        "synthetic-ease",
        "synthetic-popularity",
        "synthetic-subspace-2",
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["simulate", "nowhere"], "nowhere"),
        (["simulate", "missing.npz"], "missing.npz"),
        (["simulate", "lastfm-2k"], "grouplens"),
        (["simulate", "lastfm-2k", "--data", "nothing-here"], "nothing-here"),
        (["simulate", "synthetic", "--model", "pagerank"], "unknown model 'pagerank'"),
        (["simulate", "synthetic", "--set", "dim"], "NAME=VALUE"),
        (["simulate", "synthetic", "--set", "depth=3"], "unknown setting of subspace 'depth'"),
        (["simulate", "synthetic", "--set", "dim=-1"], "'dim' is -1"),
        (["simulate", "synthetic", "--engine", "warp", *TINY], "unknown engine 'warp'"),
        (["simulate", "synthetic", "--shards", "2", *TINY], "'ray'"),
        (["simulate", "synthetic", "--cluster", "auto", *TINY], "'ray'"),
        (["simulate", "synthetic", "--log", "comet", *TINY], "unknown log 'comet'"),
        (["simulate", "synthetic", "--model", "fedmf", "--secure", "--people", "50"], "Leave --secure out"),
        (["simulate", "synthetic", "--checkpoint-seconds", "5", "--epsilon", "8", *TINY], "than was promised"),
        (["simulate", "synthetic", "--evaluate-every", "0"], "evaluate-every"),
        (["simulate", "--resume", "nowhere"], "no checkpoint is here"),
        (["simulate", "synthetic", "--resume", "nowhere"], "leave out synthetic"),
        (["simulate", "synthetic", "--recency", "soon"], "--recency soon"),
        (["simulate", "synthetic", "--recency", "-3", *TINY], "recency"),
        (["simulate", "synthetic", "--recency", "nan", *TINY], "recency"),
        (["simulate", "synthetic", "--discount", "7", *TINY], "from 0 to 1"),
        (["simulate", "synthetic", "--set", "discount=0.2"], "--discount"),
        (["simulate", "synthetic", "--available", "0"], "available"),
        (["simulate", "synthetic", "--seed", str(2**63)], "seed"),
        (["demo", "--seed", str(2**63)], "seed"),
        (["simulate", "synthetic", "--set", "dim=" + "9" * 5000], "cannot be read"),
        (["simulate", "synthetic", "--set", "dim=" + "[" * 5000], "cannot be read"),
        (["simulate", "synthetic", "--set", "clip=1e-200"], "'clip'"),
        (["simulate", "synthetic", "--model", "ials", "--set", "spread=1e300"], "'spread'"),
        (["simulate", "a" * 5000], "name too long"),
        (["simulate", "/dev/zero"], "/dev/zero"),
        (["simulate", "lastfm-2k", "--data", "a" * 5000], "name too long"),
        (["compare", "a" * 5000], "name too long"),
        (["simulate", "no\x1b[31msuch.npz"], r"no\x1b[31msuch.npz"),
        (["simulate", "synthetic", "--cohort", "500", *TINY], "cohort of 500"),
        (["simulate", "synthetic", "--min-count", "151", *TINY], "min_count"),
        (["simulate", "synthetic", "--ring-bits", "16"], "ring-bits"),
        (["simulate", "synthetic", "--dropout", "0.99", "--min-count", "100", *TINY], "nothing was released"),
        (["simulate", "synthetic", "--rounds", "0"], "rounds"),
        (["simulate", "synthetic", "--people", "many"], "people"),
        (["simulate", "synthetic", "--frobnicate"], "--frobnicate"),
        (["simulate", "synthetic", "--listener", "99999", *TINY], "99999"),
        (["simulate"], "DATASET"),
        (["simulte"], "simulte"),
        (["compare", "no-such-run"], "no-such-run"),
        (["compare", ".", "--style", "word"], "unknown style 'word'"),
        (["demo", "--people", "3"], "people"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_two(command, tmp_path, arguments, complaint):
    code, out, err = command(*arguments)
    assert code == 2, err
    assert out == ""
    assert "\x1b" not in err
    sentence = [line for line in err.splitlines() if line.startswith("fedpersona: ")]
    assert len(sentence) == 1
    assert complaint in sentence[0].replace("File name", "name")
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*")), "nothing may be left under the run's final name"
    assert not list(tmp_path.glob("runs/.*")), "nothing half-written may be left beside it"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"test_i": np.full(60, 40)}, "test_i"),
        ({"train_u": np.full(3, np.nan)}, "train_u"),
        ({"val_i": np.zeros(59, np.int64)}, "val_i"),
        ({"train_i": np.array(["a"])}, "train_i"),
    ],
)
def test_a_split_that_would_mislead_is_refused_with_file_and_place(command, changes, complaint):
    code, _, err = command("simulate", save_split("bad.npz", **changes))
    assert code == 2
    assert "bad.npz" in err
    assert complaint in err


def test_a_truncated_split_is_refused(command, tmp_path):
    whole = save_split("whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / whole).read_bytes()[:900])
    code, _, err = command("simulate", "cut.npz")
    assert code == 2
    assert "cut.npz" in err


def test_a_folder_that_is_there_already_is_never_written_over(command, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    code, _, err = command("simulate", "synthetic", *TINY, "--out", "mine")
    assert code == 2
    assert "mine" in err
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_said_before_any_work(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = command("simulate", "synthetic", *TINY, "--out", "file/run")
    assert code == 2
    assert "cannot be written" in err
    assert "round" not in err


def test_without_a_command_the_help_is_shown_and_the_version_on_request(command):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert "simulate" in out
    assert command("--version") == (0, "fedpersona 0.1.0\n", "")


def test_devices_that_do_not_answer_are_said(command):
    code, _, err = command("simulate", "synthetic", *TINY, "--dropout", "0.5", "--no-ceiling", "--out", "r")
    assert code == 0
    assert re.search(r"round 1: \d+ of 150 devices answered", err)


def test_a_record_that_is_broken_is_refused(command, tmp_path):
    (tmp_path / "run.json").write_text("{")
    code, _, err = command("simulate", "run.json")
    assert code == 2
    assert "run.json" in err


def test_an_error_of_our_own_exits_with_one_and_says_how_to_see_more(command, monkeypatch):
    from fedpersona.simulation import doctor

    def broken(data):
        raise RuntimeError("a bug")

    monkeypatch.setattr(doctor, "examine", broken)
    code, _, err = command("doctor")
    assert code == 1
    assert "internal error: RuntimeError: a bug" in err
    assert "FEDPERSONA_DEBUG" in err
