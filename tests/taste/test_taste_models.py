"""What every taste model promises, whichever it is."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, UnknownName
from fedpersona.plays import Plays
from fedpersona.taste import IALS, MODELS, Ease, GradientModel, Subspace, create
from fedpersona.taste.query import discounted, query_weights
from tests.conftest import invent

SMALL = {"popularity": {}, "subspace": {"dim": 6}, "ease": {"ridge": 5.0}, "ials": {"dim": 5, "unseen": 20.0}}
VARIANTS = [*SMALL.items(), ("ease", {"ridge": 5.0, "head": 12})]
QUICK = {name: {"dim": 4, "rounds": 2} for name, model in MODELS.items() if issubclass(model, GradientModel)}
"""Settings of trained models for tests that need no more than a model."""


def trained(name, settings, population, recency=None):
    model = create(name, {**settings, **({} if recency is None else {"recency": recency})})
    shared = model.init(population.catalogue, seed=3)
    for _ in range(model.planned_rounds(population.catalogue)):
        total = None
        for device in range(len(population)):
            plays = population.plays(device)
            update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
            update.check(model.layout(population.catalogue, shared.round_number + 1))
            arrays = update.arrays
            total = dict(arrays) if total is None else {k: total[k] + arrays[k] for k in total}
        shared = model.apply(shared, type(update)(total), len(population))
    return model, shared


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_an_update_is_of_the_declared_layout_and_within_its_bounds(name, settings, population):
    model = create(name, settings)
    shared = model.init(population.catalogue, seed=0)
    layout = model.layout(population.catalogue, 1)
    for device in range(len(population)):
        plays = population.plays(device)
        update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
        update.check(layout)
        for spec in layout.arrays:
            assert np.abs(update[spec.name]).max() <= spec.bound


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_scores_are_finite_for_everyone_also_with_an_empty_history(name, settings, population):
    model, shared = trained(name, settings, population, recency=3.0)
    empty = Plays(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int64))
    everything = Plays(np.arange(40, dtype=np.int32), np.ones(40, np.float32), np.full(40, 5))
    for plays in (empty, everything, population.plays(0)):
        scores = model.scores(shared, model.personalise(shared, plays), plays)
        assert scores.shape == (40,)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", ["subspace", "ease", "ials"])
def test_explanations_add_up_to_the_score(name, population):
    model, shared = trained(name, SMALL[name], population, recency=4.0)
    plays = population.plays(7)
    scores = model.scores(shared, model.personalise(shared, plays), plays)
    for item in (0, 13, 39):
        parts = model.explain(shared, item, plays)
        assert parts.shape == plays.items.shape
        assert parts.sum() == pytest.approx(scores[item], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["subspace", "ease", "ials"])
def test_a_person_is_scored_by_their_own_taste(name, population):
    """The invented people have two tastes: what one half plays must score higher for them."""
    model, shared = trained(name, SMALL[name], population)
    means = []
    for taste in (0, 1):
        scores = [
            model.scores(shared, model.personalise(shared, population.plays(p)), population.plays(p))
            for p in range(taste, 60, 2)
        ]
        means.append(np.mean(scores, axis=0))
    leaning = [mean[:20].mean() - mean[20:].mean() for mean in means]
    assert leaning[1] > 0 > leaning[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_gives_the_same_initial_model_and_another_seed_another(name):
    catalogue = Catalogue.create(str(n) for n in range(40))
    model = create(name)
    assert model.init(catalogue, 1).hash() == model.init(catalogue, 1).hash()
    if name in ("subspace", "ials"):
        assert model.init(catalogue, 1).hash() != model.init(catalogue, 2).hash()


def test_a_catalogue_of_one_item_is_no_special_case():
    one = invent(8, 8).catalogue
    tiny = Catalogue.create(["only"])
    assert len(one) == 8
    for name in MODELS:
        model = create(name)
        shared = model.init(tiny, 0)
        plays = Plays(np.array([0], np.int32), np.ones(1, np.float32))
        update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
        assert all(np.isfinite(array).all() for array in model.apply(shared, update, 1).arrays.values())


def test_a_projection_longer_than_the_clip_is_shortened():
    model = Subspace(clip=0.5)
    clipped = model.clipped(np.array([[3.0, 4.0], [0.1, 0.0], [0.0, 0.0]]))
    assert np.allclose(np.linalg.norm(clipped, axis=1), [0.5, 0.1, 0.0])
    assert np.allclose(IALS(clip=1.0).clipped(np.array([0.0, -2.0])), [0.0, -1.0])


def test_ease_takes_one_round_where_its_head_is_the_whole_catalogue_and_two_where_not(population):
    assert Ease(head=40).planned_rounds(population.catalogue) == 1
    assert Ease(head=39).planned_rounds(population.catalogue) == 2


def test_items_outside_the_head_are_scored_by_their_share_of_listeners(population):
    model, shared = trained("ease", {"head": 12, "ridge": 5.0}, population)
    head = set(model.head_rows(shared).tolist())
    assert head == set(np.argsort(-population.item_counts, kind="stable")[:12].tolist())
    plays = population.plays(0)
    scores = model.scores(shared, model.personalise(shared, plays), plays)
    tail = sorted(set(range(40)) - head)
    assert np.allclose(scores[tail], population.item_counts[tail] / len(population))


def test_recent_plays_weigh_more_and_plays_of_the_same_second_alike():
    plays = Plays(np.arange(4, dtype=np.int32), np.ones(4, np.float32), np.array([10, 30, 30, 20]))
    assert np.allclose(query_weights(plays, 1.0), [1 / 8, 1.0, 1.0, 1 / 4])
    assert np.allclose(query_weights(plays, None), 1.0)
    assert np.allclose(query_weights(Plays(plays.items, plays.weights), 1.0), 1.0)


def test_a_discount_takes_fame_out():
    scores, listeners = np.array([2.0, 2.0]), np.array([0.0, 3.0])
    assert np.array_equal(discounted(scores, listeners, 0.0), scores)
    assert np.allclose(discounted(scores, listeners, 0.5), [2.0, 1.0])


@pytest.mark.parametrize(
    ("name", "settings", "error", "words"),
    [
        ("pagerank", {}, UnknownName, "popularity, subspace, ease, ials"),
        ("ease", {"lambda": 3}, UnknownName, "ridge"),
        ("ease", {"ridge": -1}, ConfigError, "'ridge' is -1"),
        ("ials", {"dim": "many"}, ConfigError, "'dim' is 'many'"),
        ("ials", {"ridge": float("nan")}, ConfigError, "'ridge'"),
        ("subspace", {"rounds": 0}, ConfigError, "'rounds' is 0"),
    ],
)
def test_an_unknown_model_or_setting_is_named_with_what_there_is(name, settings, error, words):
    with pytest.raises(error, match=words):
        create(name, settings)


def test_no_private_vector_shows_in_a_repr(population):
    model = create("ials", {"dim": 3})
    shared = model.init(population.catalogue, 0)
    private = model.personalise(shared, population.plays(0))
    assert repr(private) == "Private(trained (3,), taste (3,))"
    assert repr(population.plays(0)).startswith("Plays(")
    assert str(population.plays(0).items[0]) + "," not in repr(population.plays(0))


def test_the_gram_matrix_that_ials_sends_is_that_of_the_factors_as_devices_get_them(population):
    _, shared = trained("ials", SMALL["ials"], population)
    factors = shared["factors"].astype(float)
    assert np.array_equal(shared["gram"], (factors.T @ factors).astype(np.float32))
