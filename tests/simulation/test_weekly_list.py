"""The weekly list's promises on invented people, and what it costs, by the recipe that reports it."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console

from fedpersona.device.playlist import WeeklyConfig
from fedpersona.simulation import Run, RunConfig, simulate

RECIPE = Path(__file__).resolve().parents[2] / "simulations" / "recipes" / "weekly_list.py"
WEEKS = 3


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("weekly_list_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run() -> Run:
    return simulate(RunConfig(dataset="synthetic", people=400, seed=3, ceiling=False))


@pytest.fixture(scope="module")
def figures(recipe, run):
    people = np.arange(0, 400, 5)
    return {
        query: recipe.measure(run, query, half_life, people, WEEKS, WeeklyConfig())
        for query, half_life in recipe.half_lives(run).items()
    }


def test_nothing_on_any_list_was_heard_and_no_artist_is_there_more_than_twice(figures):
    for one in figures.values():
        assert one.heard == 0
        assert 1 <= one.most_of_an_artist <= 2


def test_a_list_shares_nothing_with_that_of_last_week_while_anything_else_is_left(figures):
    assert {one.overlap for one in figures.values()} == {0.0}


def test_where_too_little_is_left_lists_do_overlap_and_it_is_seen(recipe, run):
    config = WeeklyConfig(length=600, per_artist=1000)
    one = recipe.measure(run, "long", lambda plays: None, np.arange(3), 2, config)
    assert 0 < one.overlap < 1


def test_what_is_lost_against_the_raw_ranking_is_said_and_is_not_much(recipe, figures):
    for one in figures.values():
        assert one.loss == one.raw["ndcg@10"] - one.delivered["ndcg@10"]
        assert one.delivered["ndcg@10"] > 0.7 * one.raw["ndcg@10"] > 0.05
        assert one.found >= one.delivered["recall@30"]


def test_the_tables_say_what_was_lost(recipe, figures):
    out = io.StringIO()
    console = Console(width=200, file=out)
    for table in recipe.tables(list(figures.values()), WEEKS):
        console.print(table)
    for one in figures.values():
        assert f"{one.loss:.4f} (" in out.getvalue()
        assert one.query in out.getvalue()


def test_lists_reach_at_least_as_far_into_the_catalogue_as_the_ranking_and_differ_more_within(figures):
    for one in figures.values():
        assert one.delivered["coverage"] > 0.9 * one.raw["coverage"]
        assert one.delivered["diversity"] > one.raw["diversity"]


def test_people_whose_taste_moves_are_better_served_by_a_half_life(figures):
    alike, _, days = figures.values()
    assert days.raw["ndcg@10"] > alike.raw["ndcg@10"]


def test_the_held_out_item_is_unknown_to_the_device_and_everything_else_is_known(recipe, run):
    for person in range(20):
        plays, everything = recipe.known(run.split, person), run.split.everything(person)
        assert set(everything.items) - set(plays.items) == {run.split.test[person]}
        assert len(plays.last_played) == len(plays)


def test_a_list_that_is_the_raw_ranking_loses_nothing(recipe, run):
    config = WeeklyConfig(exploration=0, per_artist=1000)
    one = recipe.measure(run, "raw", lambda plays: None, np.arange(40), 1, config)
    assert one.loss == pytest.approx(0.0, abs=1e-12)
    assert one.delivered == pytest.approx(one.raw)
