"""``fedpersona device policy``: the floors in words; a lower one only with open eyes; nonsense is one sentence."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

from fedpersona.device.device import Device
from fedpersona.device.floors import FLOORS, changed, lowered, sentences, written
from fedpersona.device.policy import Policy
from fedpersona.errors import ConfigError, UnknownName
from tests.cli.test_device_cli import Shell


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    made.begin()
    return made


def floors(shell):
    return json.loads(shell("policy", "--json").stdout)


# -- from a shell --


def test_the_floors_are_shown_in_words_and_as_they_are_set(shell):
    told = shell("policy").stdout
    assert "At least 50 devices are added up before anything is released.  [least_cohort=50]" in told
    assert "always masked" in told
    assert "masked with 40 other devices or more" in told
    assert "[least_neighbours=40]" in told
    assert "At least 60 % of these have to help before a mask comes off.  [least_threshold=0.6]" in told
    assert len(told.strip().splitlines()) == len(FLOORS) == len(Policy.model_fields)


def test_a_higher_floor_is_set_without_a_question_and_reset_is_a_lowering(shell):
    assert "At least 80 devices" in shell("policy", "set", "least_cohort=80", "largest_upload=10 MB").stdout
    assert (floors(shell)["least_cohort"], floors(shell)["largest_upload"]) == (80, 10_000_000)
    assert "--yes" in shell("policy", "reset", code=2).stderr
    assert floors(shell)["least_cohort"] == 80
    shell("policy", "reset", "--yes")
    assert floors(shell) == json.loads(Policy().model_dump_json())
    assert "nothing was changed" in shell("policy", "reset").stdout


def test_a_lower_floor_says_what_it_means_and_needs_a_yes(shell):
    refused = shell("policy", "set", "least_cohort=20", "allow_unmasked=true", code=2).stderr
    assert "sums over 20 devices" in refused
    assert "can then read it by itself" in refused
    assert "--yes" in refused
    assert (floors(shell)["least_cohort"], floors(shell)["allow_unmasked"]) == (50, False)
    done = shell("policy", "set", "least_cohort=20", "allow_unmasked=true", "--yes")
    assert "sums over 20 devices" in done.stderr
    assert "At least 20 devices" in done.stdout
    assert (floors(shell)["least_cohort"], floors(shell)["allow_unmasked"]) == (20, True)


def test_a_lower_floor_of_masks_says_what_it_means_and_needs_a_yes(shell):
    refused = shell("policy", "set", "least_neighbours=10", "least_threshold=0.51", code=2).stderr
    assert "masked with 10 other devices, where it took 40 before, and a server needs fewer of them" in refused
    assert "51 % of the devices that yours masks with suffice to take a mask off, where it took 60 % before" in refused
    assert "--yes" in refused
    assert (floors(shell)["least_neighbours"], floors(shell)["least_threshold"]) == (40, 0.6)
    shell("policy", "set", "least_neighbours=10", "least_threshold=0.51", "--yes")
    assert (floors(shell)["least_neighbours"], floors(shell)["least_threshold"]) == (10, 0.51)
    raised = shell("policy", "set", "least_neighbours=60", "least_threshold=0.8")
    assert raised.stderr == ""
    assert "masked with 60 other devices or more" in raised.stdout


@pytest.mark.parametrize(("answer", "kept"), [("n", 50), ("y", 20)])
def test_at_a_terminal_it_asks(shell, tmp_path, answer, kept):
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, "-m", "fedpersona", "device", "policy", "set", "least_cohort=20"],
            cwd=tmp_path,
            env=shell.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(ours, f"{answer}\n".encode())
        _, told = running.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert "sums over 20 devices" in told
    assert "Lower it?" in told
    assert running.returncode == (0 if answer == "y" else 2)
    assert floors(shell)["least_cohort"] == kept


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("least_cohort=1", "at least 2"),
        ("least_neighbours=1", "from 2 to 1,024"),
        ("least_threshold=0.5", "above 0.5, at most 1"),
        ("largest_cohort=1", "unknown floor"),
        ("least_cohort", "NAME=VALUE"),
        ("models=tarot", "unknown taste model"),
    ],
)
def test_nonsense_is_one_sentence_and_changes_nothing(shell, wish, words):
    assert words in shell("policy", "set", "most_rounds_a_day=3", wish, "--yes", code=2).stderr
    assert floors(shell)["most_rounds_a_day"] == 12


def test_a_floor_named_twice_is_one_sentence(shell):
    assert "named twice" in shell("policy", "set", "least_cohort=60", "least_cohort=70", code=2).stderr


def test_a_policy_that_cannot_be_read_is_reset_with_a_yes(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    with Device.open(tmp_path / ".fedpersona", passphrase="for a test") as device, device._store.writing() as cursor:
        cursor.execute("INSERT OR REPLACE INTO settings (name, value) VALUES ('policy', ?)", (b'{"least_cohort": 1}',))
    assert "fedpersona device policy reset" in shell("policy", code=2).stderr
    assert "may have been higher" in shell("policy", "reset", code=2).stderr
    shell("policy", "reset", "--yes")
    assert floors(shell)["least_cohort"] == 50


def test_without_a_device_it_says_how_to_begin(tmp_path):
    assert "fedpersona device init" in Shell(tmp_path)("policy", code=2).stderr


# -- what words mean --


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("least_cohort", " 75 ", 75),
        ("least_neighbours", "2", 2),
        ("least_neighbours", "1024", 1024),
        ("least_threshold", " .75", 0.75),
        ("least_threshold", "1", 1.0),
        ("least_threshold", "60%", 0.6),
        ("least_threshold", "62.5 %", 0.625),
        ("least_threshold", "0.500000001", 0.500000001),
        ("allow_unmasked", "YES", True),
        ("allow_unmasked", "off", False),
        ("largest_clip", "none", None),
        ("largest_clip", "0.5", 0.5),
        ("largest_epsilon", "8", 8.0),
        ("least_hours_between", "24", 24.0),
        ("least_separation", "5", 5),
        ("most_rounds_of_a_run", "none", None),
        ("most_rounds_of_a_run", "7", 7),
        ("largest_upload", "64mb", 64_000_000),
        ("largest_upload", "1", 1),
        ("models", "subspace, ease,subspace", ("subspace", "ease")),
        ("models", "none", ()),
    ],
)
def test_words_are_read(name, words, value):
    assert getattr(changed(Policy(), {name: words}), name) == value


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("least_cohort", ""),
        ("least_cohort", "20.5"),
        ("least_cohort", "-3"),
        ("least_cohort", "٥٠"),
        ("least_cohort", "9" * 5000),
        ("least_neighbours", "1"),
        ("least_neighbours", "65535"),
        ("least_neighbours", "40.5"),
        ("least_neighbours", "none"),
        ("least_threshold", "0.5"),
        ("least_threshold", "0"),
        ("least_threshold", "1.1"),
        ("least_threshold", "50%"),
        ("least_threshold", "%"),
        ("least_threshold", "sixty%"),
        ("least_threshold", "none"),
        ("least_threshold", "nan"),
        ("allow_unmasked", "2"),
        ("largest_clip", "nan"),
        ("largest_clip", "inf"),
        ("largest_clip", "0"),
        ("largest_clip", "1e400"),
        ("largest_epsilon", "-1"),
        ("most_rounds_a_day", "0"),
        ("most_rounds_a_day", "10001"),
        ("least_hours_between", "8761"),
        ("least_separation", "0"),
        ("least_separation", "none"),
        ("most_rounds_of_a_run", "0"),
        ("most_rounds_of_a_run", "1.5"),
        ("largest_upload", "0"),
        ("largest_upload", "64 TB"),
        ("models", "subspace,"),
        ("models", "'; DROP TABLE settings"),
        ("", "1"),
    ],
)
def test_a_value_out_of_range_is_our_own_error(name, words):
    with pytest.raises(ConfigError) as error:
        changed(Policy(), {name: words})
    assert len(str(error.value)) < 500


def test_an_unknown_floor_names_those_there_are():
    with pytest.raises(UnknownName, match="least_cohort"):
        changed(Policy(), {"cohort": "3"})


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(least_cohort=2, allow_unmasked=True, largest_clip=None, largest_upload=1, models=()),
        Policy(least_neighbours=2, least_threshold=0.500000001),
        Policy(least_neighbours=1024, least_threshold=1.0),
        Policy(least_separation=4, most_rounds_of_a_run=9),
        Policy(largest_epsilon=0.5, most_rounds_a_day=1, least_hours_between=0.25, largest_clip=1e-6),
    ],
)
def test_what_is_written_reads_back_the_same(policy):
    assert changed(Policy(), written(policy)) == policy
    assert [name for name, _ in sentences(policy)] == list(FLOORS)


@pytest.mark.parametrize(
    ("name", "weak", "strong"),
    [
        ("least_cohort", 20, 50),
        ("least_neighbours", 39, 40),
        ("least_threshold", 0.59, 0.6),
        ("allow_unmasked", True, False),
        ("largest_clip", 65.0, 64.0),
        ("largest_clip", None, 64.0),
        ("largest_epsilon", None, 1.0),
        ("largest_epsilon", 2.0, 1.0),
        ("most_rounds_a_day", 13, 12),
        ("least_hours_between", 0.0, 1.0),
        ("least_separation", 1, 2),
        ("most_rounds_of_a_run", None, 2),
        ("most_rounds_of_a_run", 3, 2),
        ("largest_upload", 2_000_000, 1_000_000),
        ("models", ("ease", "subspace"), ("ease",)),
    ],
)
def test_every_floor_that_asks_for_less_care_is_told_and_no_other(name, weak, strong):
    weaker, stronger = Policy(**{name: weak}), Policy(**{name: strong})
    assert list(lowered(stronger, weaker)) == [name]
    assert lowered(weaker, stronger) == {}
    assert lowered(weaker, weaker) == {}
