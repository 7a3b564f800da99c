import numpy as np
import pytest

from fedpersona.simulation.report import neighbour_map
from fedpersona.simulation.report.item_vectors import item_directions
from fedpersona.simulation.report.neighbour_map import principal_plane, two_dimensions
from fedpersona.taste import Shared


def clustered(items, groups=5, dim=16, seed=0):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((groups, dim))
    vectors = centres[np.arange(items) % groups] + 0.3 * random.standard_normal((items, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def same_group_neighbours(places, groups=5):
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    return np.mean(nearest % groups == np.arange(len(places)) % groups)


def test_items_that_are_close_in_the_space_are_close_on_the_page():
    assert same_group_neighbours(two_dimensions(clustered(200))) > 0.98


def test_items_beyond_the_anchors_stand_with_their_neighbours(monkeypatch):
    monkeypatch.setattr(neighbour_map, "_ANCHORS", 100)
    places = two_dimensions(clustered(200))
    assert same_group_neighbours(places) > 0.98
    assert np.abs(places).max() == pytest.approx(1.0)


def test_the_same_directions_give_the_same_plane():
    np.testing.assert_array_equal(two_dimensions(clustered(150)), two_dimensions(clustered(150)))


@pytest.mark.parametrize("items", [0, 1, 2, 3, 4, 5, 17])
def test_few_items_have_finite_places(items):
    places = two_dimensions(clustered(items))
    assert places.shape == (items, 2)
    assert np.isfinite(places).all()


def test_identical_items_have_finite_places():
    assert np.isfinite(two_dimensions(np.full((60, 4), 0.5, np.float32))).all()


def test_one_dimension_is_drawn_as_a_line():
    plane = principal_plane(np.array([[1.0], [-1.0], [0.5], [0.2]], np.float32))
    assert plane.shape == (4, 2)
    assert not plane[:, 1].any()


def model(name, **arrays):
    return Shared(name, "v", 1, {key: np.asarray(value, np.float32) for key, value in arrays.items()})


def test_the_most_played_items_come_first_and_unplayed_or_empty_ones_not_at_all():
    basis = [[1, 0], [0, 0], [3, 4], [1, 1]]
    rows, directions = item_directions(model("subspace", basis=basis, strength=[1, 1], listeners=[5, 9, 7, 0]), 10)
    assert rows.tolist() == [2, 0]
    np.testing.assert_allclose(directions, [[0.6, 0.8], [1, 0]], rtol=1e-6)


def test_strong_directions_of_a_subspace_count_for_more():
    _, directions = item_directions(model("subspace", basis=[[1, 1]], strength=[4, 3], listeners=[1]), 10)
    np.testing.assert_allclose(directions, [[0.8, 0.6]], rtol=1e-6)


def test_rows_of_ease_are_those_of_its_head():
    weights = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0]])
    shared = model("ease", weights=weights, head=[1, 3, 4], listeners=[9, 8, 7, 6, 5], people=[9])
    rows, directions = item_directions(shared, 10)
    assert rows.tolist() == [1, 3, 4]
    assert directions[0] @ directions[2] == pytest.approx(1.0, abs=1e-5)
    assert directions[0] @ directions[1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    "shared",
    [
        model("popularity", listeners=[3, 2, 1]),
        model("ease", weights=np.zeros((0, 0)), head=[], listeners=[3, 2, 1], people=[3]),
        model("mystery", tensor=[1.0]),
    ],
    ids=["popularity", "ease that only counted", "unknown arrays"],
)
def test_a_model_without_a_space_has_no_directions(shared):
    rows, directions = item_directions(shared, 10)
    assert len(rows) == len(directions) == 0
