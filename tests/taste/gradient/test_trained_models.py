"""FedMF, FedRecon and PFedRec under the four functions: what they promise to devices, servers and simulations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.plays import Plays
from fedpersona.privacy.clipping import update_norm
from fedpersona.taste import create
from fedpersona.taste.gradient.model import as_private, as_row
from fedpersona.taste.model import Private
from fedpersona.wire.update import Update
from tests.conftest import invent

NAMES = ("fedmf", "fedrecon", "pfedrec")
SMALL = {
    "fedmf": {"dim": 6, "rounds": 8, "server_lr": 0.2, "fit_epochs": 4},
    "fedrecon": {"dim": 6, "rounds": 8, "server_lr": 0.2, "fit_epochs": 4, "rebuild_epochs": 3},
    "pfedrec": {"dim": 6, "rounds": 16, "item_lr": 300.0, "fit_epochs": 4},
}
NOTHING = Plays(np.empty(0, np.int32), np.empty(0, np.float32), None)


def small(name, **settings):
    return create(name, {**SMALL[name], **settings})


def privates(model, population):
    rows = model.begin(5, np.arange(len(population)))
    return [as_private(row, model.private_shapes()) for row in rows]


def trained(model, population, *, keeping=True):
    """Train, each device with what it kept or from its plays alone; return shared and private parts."""
    shared, kept = model.init(population.catalogue, 3), privates(model, population)
    for number in range(model.rounds):
        total = np.zeros(shared["items"].shape)
        for person in range(len(population)):
            plays = population.plays(person)
            begun = kept[person] if keeping and model.remembers else model.personalise(shared, plays)
            kept[person], update = model.train(shared, begun, plays, 1000 * number + person)
            total += update["items"]
        shared = model.apply(shared, Update({"items": total}), len(population))
    return shared, kept


def leaning(model, shared, kept, population):
    """Return how much higher each half of the people scores what its own half plays."""
    found = []
    for person in range(len(population)):
        plays = population.plays(person)
        scores = model.scores(shared, kept[person], plays)
        halves = scores[:20].mean() - scores[20:].mean()
        found.append(halves if person % 2 else -halves)
    return np.array(found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keeping", [True, False], ids=["what is kept", "plays alone"])
def test_people_are_scored_by_their_own_taste(name, keeping, population):
    """Also by a device that keeps nothing, as every real one does."""
    model = small(name)
    shared, kept = trained(model, population, keeping=keeping)
    if not keeping or not model.remembers:
        kept = [model.personalise(shared, population.plays(person)) for person in range(len(population))]
    lean = leaning(model, shared, kept, population)
    assert np.mean(lean > 0) > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_of_the_declared_layout_and_never_longer_than_said(name, population):
    for longest in (1e-3, 0.5, 5000.0):
        model = small(name, longest=longest)
        shared, plays = model.init(population.catalogue, 0), population.plays(3)
        update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
        update.check(model.layout(population.catalogue, 1))
        length = float(np.linalg.norm(update["items"]))
        assert 0 < length <= longest * (1 + 1e-12)
        if longest < 1e-2:
            assert length == pytest.approx(longest)


def test_a_shortened_update_points_where_the_long_one_did(population):
    shared, plays = small("fedmf").init(population.catalogue, 0), population.plays(3)
    begun = Private({"vector": np.full(6, 0.3)})
    long, short = (small("fedmf", longest=most).train(shared, begun, plays, 7)[1]["items"] for most in (1e6, 0.01))
    assert short == pytest.approx(long * (0.01 / np.linalg.norm(long)))


@pytest.mark.parametrize("name", NAMES)
def test_who_played_nothing_adds_nothing(name, population):
    model = small(name)
    shared = model.init(population.catalogue, 0)
    update = model.contribute(shared, model.personalise(shared, NOTHING), NOTHING, np.random.default_rng(0))
    assert not update["items"].any()
    assert np.isfinite(model.scores(shared, model.personalise(shared, NOTHING), NOTHING)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_person_who_played_everything_trains_and_is_scored(name, population):
    everything = Plays(np.arange(40, dtype=np.int32), np.ones(40, np.float32), np.full(40, 5))
    model = small(name)
    shared = model.init(population.catalogue, 0)
    private = model.personalise(shared, everything)
    update = model.contribute(shared, private, everything, np.random.default_rng(0))
    assert np.isfinite(update["items"]).all()
    assert np.isfinite(model.scores(shared, private, everything)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_round_is_the_same_for_the_same_key_and_another_for_another(name, population):
    model = small(name)
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    begun = privates(model, population)[3] if model.remembers else model.personalise(shared, plays)
    one, again, other = (model.train(shared, begun, plays, key) for key in (7, 7, 8))
    assert np.array_equal(one[1]["items"], again[1]["items"])
    assert np.array_equal(one[0]["vector"], again[0]["vector"])
    assert not np.array_equal(one[1]["items"], other[1]["items"])


@pytest.mark.parametrize("name", NAMES)
def test_a_list_is_the_same_all_week(name, population):
    """Nothing that makes scores draws from anything but the plays."""
    model = small(name)
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    one, again = (model.scores(shared, model.personalise(shared, plays), plays) for _ in range(2))
    assert np.array_equal(one, again)


@pytest.mark.parametrize("name", NAMES)
def test_recent_plays_weigh_more_where_it_is_asked_for(name, population):
    model = small(name)
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    plain, recent = (
        model.model_copy(update={"recency": recency}).personalise(shared, plays)["vector"] for recency in (None, 1.0)
    )
    untimed = model.model_copy(update={"recency": 1.0}).personalise(shared, replace(plays, last_played=None))["vector"]
    assert not np.allclose(plain, recent)
    assert np.array_equal(plain, untimed)


@pytest.mark.parametrize("name", ["fedmf", "pfedrec"])
def test_what_devices_begin_with_does_not_depend_on_who_else_is_asked(name):
    model = small(name)
    everyone = model.begin(5, np.arange(20))
    assert everyone.dtype == np.float32
    assert np.array_equal(model.begin(5, np.array([17, 3])), everyone[[17, 3]])
    shapes = model.private_shapes()
    assert np.array_equal(as_row(as_private(everyone[4], shapes), shapes), everyone[4])


def test_fedmf_begins_with_vectors_of_their_own_and_pfedrec_with_one_scorer_for_all():
    vectors = small("fedmf", dim=200, spread=0.3).begin(5, np.arange(50))
    assert vectors.std() == pytest.approx(0.3, rel=0.05)
    assert np.abs(np.corrcoef(vectors) - np.eye(50)).max() < 0.4
    scorers = small("pfedrec", scorer=0.5).begin(5, np.arange(50))
    assert (scorers == scorers[0]).all()
    assert np.linalg.norm(scorers[0, :-1]) == pytest.approx(0.5)
    assert scorers[0, -1] == 0.0


def test_fedrecon_keeps_nothing_and_does_not_look_at_what_it_is_given(population):
    model = small("fedrecon")
    assert model.begin(5, np.arange(4)).shape == (4, 0)
    assert model.private_shapes() == {}
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    one, other = (
        model.train(shared, Private({"vector": np.full(6, value)}), plays, 7)[1]["items"] for value in (0.0, 9.0)
    )
    assert np.array_equal(one, other)


def test_fedrecon_trains_items_on_plays_that_the_person_was_not_rebuilt_from(population):
    """With all plays but one for the person, one play's step and its negatives move the items."""
    model = small("fedrecon", support=0.999, loss="bce", negatives=1)
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    _, update = model.train(shared, Private(), plays, 7)
    moved = np.flatnonzero(update["items"].any(axis=1))
    assert len(plays) > 2
    assert len(moved) == 2
    assert np.isin(moved, plays.items).sum() == 1


def test_pfedrec_makes_lists_from_the_items_as_the_device_fits_them(population):
    model = small("pfedrec")
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    private = privates(model, population)[3]
    shared_product = shared["items"] @ private["vector"]
    scores = model.scores(shared, private, plays)
    kept_moving = small("pfedrec", item_lr=1e-9, lr=1e-9).scores(shared, private, plays)
    assert kept_moving == pytest.approx(shared_product, abs=1e-6)
    assert scores[plays.items].mean() > shared_product[plays.items].mean()


@pytest.mark.parametrize("name", NAMES)
def test_an_explanation_has_a_part_for_every_play_and_none_below_nothing(name, population):
    model = small(name)
    shared, _ = trained(small(name, rounds=3), population)
    plays = population.plays(7)
    for item in (0, 13, 39):
        parts = model.explain(shared, item, plays)
        assert parts.shape == plays.items.shape
        assert (parts >= 0).all()
    assert model.explain(shared, 0, NOTHING).shape == (0,)


def test_under_noise_an_update_is_one_of_length_1_in_units_of_the_longest(population):
    model = small("fedmf", noise=2.0, longest=0.01)
    shared, plays = model.init(population.catalogue, 0), population.plays(3)
    layout = model.layout(population.catalogue, 1)
    update = model.contribute(shared, model.personalise(shared, plays), plays, np.random.default_rng(0))
    assert layout.length == 1.0
    assert update_norm(update, layout) == pytest.approx(1.0)
    assert small("fedmf").layout(population.catalogue, 1).length is None


def test_moments_go_on_from_round_to_round_and_are_not_part_of_the_model():
    population = invent()
    model = small("fedmf")
    first = model.init(population.catalogue, 0)
    total = Update({"items": np.ones((40, 6))})
    second = model.apply(first, total, 2)
    third, restarted = (model.apply(begun, total, 2) for begun in (second, replace(second, kept={})))
    assert set(second.kept) == {"items.first", "items.second"}
    assert second.hash() == replace(second, kept={}).hash()
    assert not np.array_equal(third["items"], restarted["items"])


@pytest.mark.parametrize("name", NAMES)
def test_under_noise_updates_are_shorter_unless_they_were_shorter_already(name):
    quiet, noisy, already = small(name), small(name, noise=3.0), small(name, noise=3.0, longest=1e-3)
    assert quiet.suited(1000, 40) == quiet
    assert noisy.suited(1000, 40).longest == type(noisy).short < noisy.longest
    assert already.suited(1000, 40) == already
