"""``fedpersona privacy``, and ``fedpersona simulate`` under an epsilon, as a person and as a machine use them."""

from __future__ import annotations

import json
import re

import pytest

from fedpersona.cli.privacy import _share
from fedpersona.simulation import expectation

TINY = ("--people", "150", "--items", "120", "--model", "popularity", "--no-ceiling")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(expectation, "SIMULATED_PEOPLE", 200)
    monkeypatch.setattr(expectation, "SIMULATED_ITEMS", 100)
    monkeypatch.setattr(expectation, "_SEEDS", 1)


def test_a_private_run_prints_its_promise_beside_the_metrics(command):
    code, out, err = command("simulate", "synthetic", *TINY, "--epsilon", "8", "--delta", "1e-5", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["metrics"]["test"]["ndcg@10"] > 0
    privacy = told["privacy"]
    assert (privacy["epsilon"], privacy["delta"], privacy["unit"], privacy["noise"]) == (8.0, 1e-5, "user", "central")
    assert privacy["epsilon_pld"] <= 8.0 < privacy["epsilon_rdp"]
    assert privacy["hyperparameters"] == "fixed before the data was seen"
    assert "coin" in privacy["sentence"]
    assert told["serving"] == {"recency": None, "discount": 0.0}


def test_without_an_epsilon_nothing_is_said_of_privacy(command):
    code, out, _ = command("simulate", "synthetic", *TINY, "--json")
    assert code == 0
    assert "privacy" not in json.loads(out)


def test_of_several_epsilons_the_largest_is_the_runs_and_all_are_drawn(command, tmp_path):
    code, out, err = command("simulate", "synthetic", *TINY, "--epsilon", "1, 8,2", "--json", "--out", "r")
    assert code == 0, err
    privacy = json.loads(out)["privacy"]
    assert privacy["epsilon"] == 8.0
    assert [point["epsilon"] for point in privacy["curve"]] == [1.0, 2.0, 8.0]
    assert (tmp_path / "r/privacy.svg").is_file()


def test_a_person_reads_the_promise_below_the_table(command):
    code, out, _ = command("simulate", "synthetic", *TINY, "--epsilon", "2", "--replicate", "10")
    assert code == 0
    assert re.search(r"synthetic: 1,\d\d0 devices", out), "each of about 150 people stands for ten"
    words = " ".join(out.split())
    assert "ε = 2 at δ = 1e-05 for each person" in words
    assert "Whether or not you take part" in words


def test_a_recorded_private_run_is_made_again_with_new_noise(command):
    assert command("simulate", "synthetic", *TINY, "--epsilon", "1", "--out", "a")[0] == 0
    told = []
    for out in ("b", "c"):
        code, words, err = command("simulate", "a", "--out", out, "--json")
        assert code == 0, err
        told.append(json.loads(words))
    assert told[0]["privacy"]["noise_multipliers"] == told[1]["privacy"]["noise_multipliers"]
    assert told[0]["model_hash"] != told[1]["model_hash"]


@pytest.mark.parametrize(("kept", "words"), [(-0.001, "0%"), (-0.6, "-60%"), (0.896, "90%"), (1.02, "102%")])
def test_a_share_that_is_all_but_nothing_has_no_sign(kept, words):
    assert _share(kept) == words


@pytest.mark.usefixtures("small")
def test_a_plan_answers_before_any_training(command, tmp_path):
    code, out, err = command("privacy", "plan", "--users", 1000, "--epsilon", 8, "--model", "ease", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["privacy"]["epsilon_pld"] <= 8.0
    assert told["bytes_up_per_device"] > 0
    assert [e["users"] for e in told["expected"]][:4] == [100, 1_000, 10_000, 100_000]
    assert "good" in told
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("model", "noise"), [("ease", "central"), ("popularity", "distributed")])
def test_a_person_reads_a_small_table_and_a_sentence(command, model, noise):
    code, out, err = command("privacy", "plan", "--users", 1000, "--epsilon", 4, "--model", model, "--noise", noise)
    assert code == 0, err
    words = " ".join(out.split())
    assert "Whether or not you take part" in words
    assert "by PLD" in words
    assert "Kept" in words
    assert "good" in words
    assert ("make it whole" in words) == (noise == "distributed")
    assert "\x1b" not in out


def test_an_epsilon_is_explained(command):
    code, out, _ = command("privacy", "explain", "--epsilon", "8", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["mu"] == pytest.approx(1.66603, abs=1e-4)
    assert 0.79 < told["best_guess"] < 0.8
    code, out, _ = command("privacy", "explain", "--epsilon", "8")
    assert " ".join(out.split()) == told["sentence"]


@pytest.mark.parametrize("name", ["plan", "explain"])
def test_the_help_shows_an_example(command, name):
    code, out, _ = command("privacy", name, "--help")
    assert code == 0
    assert f"fedpersona privacy {name}" in re.sub(r"\s+", " ", out.split("Example")[1])


def test_the_help_says_that_nothing_is_chosen_under_an_epsilon(command):
    words = " ".join(command("simulate", "--help")[1].replace("│", " ").split())
    assert "no setting is chosen on anyone's history" in words
    assert "off with --epsilon" in words


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["simulate", "synthetic", "--epsilon", "0"], "--epsilon 0"),
        (["simulate", "synthetic", "--epsilon", "-1"], "--epsilon -1"),
        (["simulate", "synthetic", "--epsilon", "nan"], "--epsilon nan"),
        (["simulate", "synthetic", "--epsilon", "inf"], "--epsilon inf"),
        (["simulate", "synthetic", "--epsilon", "much"], "--epsilon much"),
        (["simulate", "synthetic", "--epsilon", "8,,1"], "--epsilon"),
        (["simulate", "synthetic", "--epsilon", "8", "--delta", "0"], "--delta 0"),
        (["simulate", "synthetic", "--epsilon", "8", "--delta", "1"], "--delta 1"),
        (["simulate", "synthetic", "--epsilon", "8", "--delta", "nan"], "--delta nan"),
        (["simulate", "synthetic", "--delta", "1e-5"], "--epsilon"),
        (["simulate", "synthetic", "--noise", "central"], "--epsilon"),
        (["simulate", "synthetic", "--epsilon", "8", "--noise", "loud"], "unknown noise 'loud'"),
        (["simulate", "synthetic", "--epsilon", "8", "--recency", "auto"], "validation items"),
        (["simulate", "synthetic", "--epsilon", "8", "--discount", "auto"], "validation items"),
        (["simulate", "synthetic", "--set", "noise=1"], "--epsilon"),
        (["simulate", "synthetic", "--replicate", "0"], "replicate"),
        (["privacy", "plan", "--users", "1000", "--epsilon", "0"], "--epsilon 0"),
        (["privacy", "plan", "--users", "1000", "--epsilon", "8", "--delta", "2"], "--delta 2"),
        (["privacy", "plan", "--users", "1", "--epsilon", "8"], "users"),
        (["privacy", "plan", "--users", "1000", "--epsilon", "8", "--model", "pagerank"], "unknown model 'pagerank'"),
        (["privacy", "plan", "--users", "1000", "--epsilon", "8", "--model", "ease", "--rounds", "9"], "'rounds'"),
        (["privacy", "explain", "--epsilon", "none"], "--epsilon none"),
    ],
)
def test_a_promise_that_is_none_gets_one_sentence_and_exit_code_two(command, tmp_path, arguments, complaint):
    code, out, err = command(*arguments)
    assert code == 2, err
    assert out == ""
    sentence = [line for line in err.splitlines() if line.startswith("fedpersona: ")]
    assert len(sentence) == 1
    assert complaint in sentence[0]
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
