"""The map of taste: where things lie is public and steady; what was played is marked, and nothing is lost."""

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.device import starter
from fedpersona.device.taste_map import taste_map
from fedpersona.errors import DataError
from fedpersona.plays import Plays
from fedpersona.taste import Shared
from tests.conftest import invent


def played(*rows: int, weights: tuple[float, ...] | None = None) -> Plays:
    return Plays(np.array(rows, np.int32), np.array(weights or (1.0,) * len(rows), np.float32))


def invented(items: int = 80, tags: tuple[str, ...] = ("folk", "techno")) -> Catalogue:
    """Half the items of one tag, half of another, each with one of three tags more."""
    return Catalogue.create(
        [f"i{n}" for n in range(items)],
        tags=[(tags[n * len(tags) // items], f"mood {n % 3}") for n in range(items)],
        kind="track",
    )


def shared_space(items: int = 80, model: str = "subspace", catalogue: str = "") -> Shared:
    """Two groups of items in a space of four dimensions."""
    rng = np.random.default_rng(1)
    basis = rng.normal(0, 0.1, (items, 4)).astype(np.float32)
    basis[: items // 2, 0] += 1
    basis[items // 2 :, 1] += 1
    listeners = np.arange(items, 0, -1).astype(np.float32)
    if model == "ials":
        return Shared("ials", catalogue, 1, {"factors": basis, "gram": basis.T @ basis, "listeners": listeners})
    if model == "ease":
        head = np.arange(items, dtype=np.int32)
        return Shared("ease", catalogue, 1, {"weights": basis @ basis.T, "head": head, "listeners": listeners})
    if model == "popularity":
        return Shared("popularity", catalogue, 1, {"listeners": listeners})
    return Shared(
        "subspace", catalogue, 1, {"basis": basis, "strength": np.ones(4, np.float32), "listeners": listeners}
    )


def nearest_share(places: np.ndarray, group: np.ndarray) -> float:
    """How often an item's nearest neighbour on the map is of its own group."""
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((group[apart.argmin(axis=1)] == group).mean())


@pytest.mark.parametrize("model", ["subspace", "ials", "ease"])
def test_what_is_near_in_the_shared_space_is_near_on_the_map(model):
    found = taste_map(invented(), played(0, 5), shared_space(model=model))
    assert found is not None
    assert found.source == "shared"
    assert nearest_share(found.places, found.rows < 40) > 0.95


@pytest.mark.parametrize("shared", [None, shared_space(model="popularity")])
def test_without_a_space_the_tags_say_what_is_near(shared):
    found = taste_map(invented(), played(0), shared)
    assert found is not None
    assert found.source == "tags"
    assert nearest_share(found.places, found.rows < 40) > 0.95


def test_the_plane_is_the_same_whoever_looks():
    one = taste_map(starter.catalogue(), played(3, 700, 1300))
    other = taste_map(starter.catalogue(), played(4, 5))
    assert one is not None
    assert other is not None
    # Up to the frame, which also has to hold what only one of them played.
    known = min(len(one), len(other)) - 2
    first, second = (found.places[:known] - found.places[:known].mean(axis=0) for found in (one, other))
    scale = np.abs(first).max() / np.abs(second).max()
    np.testing.assert_allclose(first, second * scale, atol=1e-6)


def test_what_was_played_is_marked_with_its_plays_and_is_on_the_map_however_rare():
    found = taste_map(starter.catalogue(), played(3, 1380, weights=(2.0, 7.0)))
    assert found is not None
    marked = dict(zip(found.rows[found.weights > 0].tolist(), found.weights[found.weights > 0].tolist(), strict=True))
    assert marked == {3: 2.0, 1380: 7.0}


def test_every_point_is_finite_inside_the_frame_and_there_once():
    found = taste_map(starter.catalogue(), played(*range(0, 1387, 3)))
    assert found is not None
    assert np.isfinite(found.places).all()
    assert np.abs(found.places).max() == pytest.approx(1)
    assert len(set(found.rows.tolist())) == len(found)


def test_regions_are_the_commonest_first_tags_where_they_lie_most_densely():
    found = taste_map(invented(), played(0, 1, 50))
    assert found is not None
    assert [(region.tag, region.items, region.played) for region in found.regions] == [
        ("folk", 40, 2),
        ("techno", 40, 1),
    ]
    for region in found.regions:
        mine = found.places[(found.rows < 40) == (region.tag == "folk")]
        assert np.linalg.norm(mine - (region.x, region.y), axis=1).min() < 0.2


def test_a_million_plays_of_nothing_known_and_no_plays_give_a_map_without_marks():
    found = taste_map(invented(), played())
    assert found is not None
    assert not found.weights.any()
    assert all(region.played == 0 for region in found.regions)


@pytest.mark.parametrize(
    "catalogue", [invented(1, ("a",)), invented(3, ("a",)), Catalogue.create(["a", "b", "c", "d", "e"])]
)
def test_too_little_to_lay_out_gives_no_map(catalogue):
    assert taste_map(catalogue, played()) is None


def test_items_that_are_all_alike_do_not_stand_on_one_point():
    alike = Catalogue.create([f"i{n}" for n in range(30)], tags=[("pop",)] * 30)
    found = taste_map(alike, played(1))
    assert found is not None
    assert np.isfinite(found.places).all()
    assert len(np.unique(found.places.round(6), axis=0)) > 20


def test_what_nobody_played_has_no_place_in_a_shared_space():
    shared = shared_space()
    shared["listeners"][10:20] = 0
    found = taste_map(invented(), played(0), shared)
    assert found is not None
    assert not set(found.rows.tolist()) & set(range(10, 20))


def test_a_trained_model_of_the_library_gives_a_map():
    from fedpersona.taste import Subspace

    population = invent()
    model = Subspace(dim=8)
    start = model.init(population.catalogue, 0)
    heard = Shared(start.model, start.catalogue, 1, {**start.arrays, "listeners": np.ones(40, np.float32)})
    found = taste_map(population.catalogue, population.plays(0), heard)
    assert found is not None
    assert found.source == "shared"


def test_plays_or_a_model_of_another_catalogue_are_named():
    with pytest.raises(DataError, match="another version"):
        taste_map(invented(), played(80))
    with pytest.raises(DataError, match="another catalogue"):
        taste_map(invented(), played(1), shared_space(items=81))


def test_printing_a_map_shows_nothing_of_the_owner():
    found = taste_map(invented(), played(0, 1, 50))
    assert found is not None
    assert repr(found) == "TasteMap(80 points, by tags)"
    assert "played" not in repr(found.regions)
