import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.plays import Plays


def test_the_version_of_a_catalogue_changes_with_anything_in_it():
    base = {"titles": ["A", "B"], "artists": ["X", "Y"], "tags": [["t"], []]}
    version = Catalogue.create(["1", "2"], **base).version
    assert Catalogue.create(["1", "2"], **base).version == version
    for change in (
        {"titles": ["A", "C"]},
        {"artists": ["X", "Z"]},
        {"tags": [[], ["t"]]},
        {"kind": "film"},
    ):
        assert Catalogue.create(["1", "2"], **{**base, **change}).version != version
    assert Catalogue.create(["2", "1"], **base).version != version


@pytest.mark.parametrize(
    ("ids", "columns", "complaint"),
    [([], {}, "at least one"), (["a", "a"], {}, "twice"), (["a"], {"titles": ["x", "y"]}, "titles")],
)
def test_a_catalogue_that_makes_no_sense_is_refused(ids, columns, complaint):
    with pytest.raises(DataError, match=complaint):
        Catalogue.create(ids, **columns)


def test_items_are_found_by_id_and_called_by_title_and_artist():
    catalogue = Catalogue.create(["a", "b"], titles=["Song", "Band"], artists=["Band", "Band"])
    assert catalogue.row("b") == 1
    assert [catalogue.label(row) for row in (0, 1)] == ["Song — Band", "Band"]
    with pytest.raises(DataError, match="'c' is not in the catalogue of 2"):
        catalogue.row("c")


def test_the_version_of_a_catalogue_changes_with_its_links_too():
    plain = Catalogue.create(["1", "2"]).version
    linked = Catalogue.create(["1", "2"], links=[["mbid:x"], []]).version
    assert len({plain, linked, Catalogue.create(["1", "2"], links=[[], ["mbid:x"]]).version}) == 3
    assert Catalogue.create(["1", "2"], links=[["mbid:x"], []]).version == linked


def test_links_are_one_tuple_an_item_or_none_at_all():
    assert Catalogue.create(["1", "2"]).links == ()
    assert Catalogue.create(["1", "2"], links=[["mbid:x", "spotify:track:y"], []]).links[1] == ()
    with pytest.raises(DataError, match="2 ids but 1 links"):
        Catalogue.create(["1", "2"], links=[["mbid:x"]])


def test_an_item_that_may_be_missing_is_found_or_none():
    catalogue = Catalogue.create(["a", "b"])
    assert (catalogue.find("b"), catalogue.find("c")) == (1, None)


def plays(items, weights=None, times=None):
    weights = np.ones(len(items)) if weights is None else weights
    return Plays(np.array(items, np.int32), np.array(weights, np.float32), times)


@pytest.mark.parametrize("items", [[2, 1], [1, 1], [-1, 3]])
def test_plays_are_of_increasing_rows(items):
    with pytest.raises(DataError, match="strictly increasing"):
        plays(items)


@pytest.mark.parametrize("weights", [[1, np.nan], [1, np.inf], [0, 1], [-1, 1]])
def test_weights_of_plays_are_positive_and_finite(weights):
    with pytest.raises(DataError, match="positive"):
        plays([1, 2], weights)


def test_plays_without_a_time_for_each_are_refused_and_empty_plays_are_fine():
    with pytest.raises(DataError, match="one time an item"):
        plays([1, 2], times=np.array([5]))
    assert len(plays([])) == 0
