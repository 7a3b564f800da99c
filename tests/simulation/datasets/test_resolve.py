import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, DataError, DataNotFound, UnknownName
from fedpersona.simulation import datasets
from fedpersona.simulation.population import Population


@pytest.fixture(autouse=True)
def _no_data_named(monkeypatch):
    monkeypatch.delenv("FEDPERSONA_DATA", raising=False)


@pytest.fixture
def split_file(tmp_path):
    path = tmp_path / "tiny.npz"
    np.savez(path, n_users=1, n_items=4, train_u=np.array([0]), train_i=np.array([1]), val_i=[2], test_i=[3])
    return path


@pytest.fixture
def real_folder(tmp_path):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("".join(f"1\t{film}\t3\t{film}\n" for film in (1, 2, 3)))
    (folder / "u.item").write_text("1|One||||" + "|".join("0" * 19) + "\n")
    return tmp_path


@pytest.fixture
def invented(monkeypatch):
    """Stand in for the generator: what is asked of it is what matters here."""
    asked = []

    def generate(*, people, items=None, seed):
        asked.append({"people": people, "items": items, "seed": seed})
        return Population.from_pairs(
            "synthetic",
            Catalogue.create("abcd"),
            np.zeros(4, int),
            np.arange(4),
            person_ids=np.array([0]),
            times=np.array([1, 4, 2, 3]),
        )

    module = ModuleType("fedpersona.simulation.synthetic")
    module.generate = generate
    monkeypatch.setitem(sys.modules, "fedpersona.simulation.synthetic", module)
    return asked


def test_a_path_is_a_split(split_file):
    assert datasets.load(str(split_file)).name == "tiny"


def test_a_path_in_the_working_folder_and_in_the_home_folder_is_found(split_file, monkeypatch):
    monkeypatch.chdir(split_file.parent)
    monkeypatch.setenv("HOME", str(split_file.parent))
    for source in ("tiny.npz", "./tiny.npz", "~/tiny.npz"):
        assert datasets.load(source).name == "tiny"


@pytest.mark.parametrize("source", ["nothing.npz", "some/where", "./lastfm-2k", "~nobody-has-this-name/x.npz"])
def test_a_path_to_nothing_is_not_found(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFound, match="there is no such file"):
        datasets.load(source)


def test_a_folder_as_the_source_is_one_clear_sentence(tmp_path):
    with pytest.raises(DataError, match=r"is a folder: name an \.npz file in it"):
        datasets.load(str(tmp_path))


@pytest.mark.parametrize("source", ["lastfm", "LASTFM-2K", "", "npz"])
def test_an_unknown_name_lists_the_known_ones_and_says_that_a_path_will_do(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName) as caught:
        datasets.load(source)
    for part in (*datasets.KNOWN, "path of an .npz"):
        assert part in str(caught.value)


def test_a_source_that_no_path_can_be_is_refused():
    with pytest.raises((DataError, UnknownName)):
        datasets.load("a\0b")
    with pytest.raises((DataError, UnknownName)):
        datasets.load("a\0b.npz")


@pytest.mark.parametrize("source", ["lastfm-2k", "ml-100k", "ml-1m", "tiny.npz"])
@pytest.mark.parametrize("option", ["people", "items"])
def test_sizes_are_for_the_synthetic_population_only(source, option):
    with pytest.raises(ConfigError, match=f"'{option}' sizes the synthetic population only"):
        datasets.load(source, **{option: 100})


def test_synthetic_people_are_split_by_time(invented):
    split = datasets.load("synthetic", seed=7, people=50, items=20)
    assert invented == [{"people": 50, "items": 20, "seed": 7}]
    assert (split.test.tolist(), split.val.tolist()) == ([1], [3])


def test_two_thousand_synthetic_people_by_default(invented):
    datasets.load("synthetic", seed=7)
    assert invented == [{"people": 2000, "items": None, "seed": 7}]


def test_real_data_is_found_by_option_and_by_environment(real_folder, monkeypatch):
    by_option = datasets.load("ml-100k", data=real_folder, seed=1)
    monkeypatch.setenv("FEDPERSONA_DATA", str(real_folder))
    by_environment = datasets.load("ml-100k", seed=2)
    assert by_option.train.data_hash == by_environment.train.data_hash
    assert by_option.test.tolist() == by_environment.test.tolist() == [2]


def test_the_option_goes_before_the_environment(real_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPERSONA_DATA", str(tmp_path / "nowhere"))
    assert datasets.load("ml-100k", data=real_folder).name == "ml-100k"
    monkeypatch.setenv("FEDPERSONA_DATA", str(real_folder))
    with pytest.raises(DataNotFound):
        datasets.load("ml-100k", data=tmp_path / "nowhere")


@pytest.mark.parametrize("source", ["lastfm-2k", "ml-100k", "ml-1m"])
def test_real_data_without_a_folder_says_where_to_get_it(source, monkeypatch):
    monkeypatch.setenv("FEDPERSONA_DATA", "")
    with pytest.raises(DataNotFound, match=f"{source} is not part of fedpersona: get it from https://"):
        datasets.load(source)


def test_available_names_what_is_there_and_what_is_not(real_folder, monkeypatch):
    expected = {"lastfm-2k": None, "ml-100k": str(real_folder / "ml-100k"), "ml-1m": None}
    assert datasets.available(real_folder) == expected
    assert datasets.available() == dict.fromkeys(expected)
    monkeypatch.setenv("FEDPERSONA_DATA", str(real_folder))
    assert datasets.available() == expected
    assert datasets.available(Path("no such folder")) == dict.fromkeys(expected)
