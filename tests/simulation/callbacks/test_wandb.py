"""What W&B is told, by a stand-in of the part of its documented interface that is used."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from fedpersona.simulation.callbacks import make_callback, naming, wandb


class Summary(dict):
    pass


class Run:
    def __init__(self, options):
        self.options, self.logged, self.summary, self.ended = options, [], Summary(), None

    def log(self, data, step):
        assert not self.logged or step > self.logged[-1][0], "W&B drops steps that do not rise"
        self.logged.append((step, data))

    def finish(self, exit_code=0):
        self.ended = exit_code


@pytest.fixture
def runs(monkeypatch):
    """Put a stand-in in the place of the package; returns the runs it began."""
    for name in (*wandb._QUIET, "WANDB_MODE"):
        monkeypatch.setenv(name, "undone when the test ends")
        monkeypatch.delenv(name)
    begun = []
    module = ModuleType("wandb")
    module.init = lambda **options: begun.append(Run(options)) or begun[-1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(naming, "find_spec", lambda package: package)
    return begun


def test_rounds_and_figures_are_logged_offline(follow, tmp_path, runs):
    run = follow(make_callback("wandb:mine", tmp_path / "runs/a"))
    (told,) = runs
    assert told.options["mode"] == "offline"
    assert (told.options["project"], told.options["name"]) == ("mine", "a")
    assert told.options["save_code"] is False
    assert "someone" not in str(told.options["config"])
    assert [step for step, _ in told.logged] == [1, 2, 3, 4]
    assert told.summary["test_ndcg@10"] == run.record.federated.test["ndcg@10"]
    assert told.ended == 0


def test_nothing_of_the_machine_goes_along_unless_its_owner_says_so(follow, tmp_path, runs, monkeypatch):
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "false")
    monkeypatch.setenv("WANDB_MODE", "online")
    follow(make_callback("wandb", tmp_path / "a"))
    assert runs[0].options["mode"] is None, "what the environment says counts"
    assert os.environ["WANDB_X_DISABLE_STATS"] == "false"
    assert os.environ["WANDB_DISABLE_GIT"] == "true"
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_a_run_that_stops_early_is_closed_as_one(follow, tmp_path, runs):
    from fedpersona.errors import ConfigError

    with pytest.raises(ConfigError):
        follow(make_callback("wandb", tmp_path / "a"), min_count=61)
    assert runs[0].ended == 1
