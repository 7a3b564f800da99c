import pytest

from fedpersona.errors import DataError, DataNotFound
from fedpersona.simulation.datasets import movielens

# Invented people and ratings: person, film, rating, time. Films 30 and 10 of person 1 share a second.
RATINGS = [
    (1, 20, 5, 900),
    (1, 30, 1, 800),
    (2, 10, 3, 50),
    (1, 10, 4, 800),
    (2, 30, 2, 70),
    (1, 40, 3, 100),
    (2, 40, 1, 60),
]
FLAGS_ACTION_DRAMA = "0|1|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0"
FLAGS_UNKNOWN = "1" + "|0" * 18
FILMS_100K = [
    f"10|Les Mis\u00e9rables (1995)|01-Jan-1995||http://x|{FLAGS_ACTION_DRAMA}",
    f"20|Nothing Known||||{FLAGS_UNKNOWN}",
    f"30|Third, The (1949)|01-Jan-1949||http://y|{FLAGS_ACTION_DRAMA}",
    f"99|Never Rated|01-Jan-1990||http://z|{FLAGS_ACTION_DRAMA}",
]
FILMS_1M = [
    "10::Les Mis\u00e9rables (1995)::Action|Drama",
    "20::Nothing Known::",
    "30::Third:: The (1949)::Action|Drama",
]
CASES = {
    "ml-100k": (movielens.read_100k, "u.data", "\t", "u.item", FILMS_100K),
    "ml-1m": (movielens.read_1m, "ratings.dat", "::", "movies.dat", FILMS_1M),
}


@pytest.fixture(params=sorted(CASES))
def dataset(request, tmp_path):
    return Dataset(request.param, tmp_path)


class Dataset:
    def __init__(self, name, data):
        self.data, self.folder = data, data / name
        self.reader, ratings, self.separator, films, self.film_lines = CASES[name]
        self.ratings, self.films = self.folder / ratings, self.folder / films
        self.folder.mkdir()
        self.write(self.ratings, [self.separator.join(map(str, row)) for row in RATINGS])
        self.write(self.films, self.film_lines)

    def write(self, path, lines):
        path.write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))

    def rewrite(self, path, number, line):
        lines = path.read_bytes().decode("latin-1").split("\n")[:-1]
        lines[number - 1] = line
        self.write(path, lines)

    def read(self):
        return self.reader(self.data)

    def refusal(self):
        with pytest.raises(DataError) as caught:
            self.read()
        return str(caught.value)


def test_the_last_film_is_tested_and_ties_go_by_the_file(dataset):
    split = dataset.read()
    ids = split.catalogue.ids
    assert [ids[row] for row in split.test] == ["20", "30"]
    assert [ids[row] for row in split.val] == ["10", "40"]
    assert [[ids[row] for row in split.train.plays(p).items] for p in (0, 1)] == [["30", "40"], ["10"]]
    assert split.train.plays(0).last_played.tolist() == [800, 100]


def test_every_rating_is_one_positive(dataset):
    split = dataset.read()
    assert split.complete.interactions == len(RATINGS)
    assert set(split.complete.weights.tolist()) == {1.0}


def test_films_have_titles_and_genres_and_only_rated_ones_are_there(dataset):
    catalogue = dataset.read().catalogue
    assert (catalogue.kind, catalogue.ids) == ("film", ("10", "20", "30", "40"))
    assert catalogue.titles[:2] == ("Les Mis\u00e9rables (1995)", "Nothing Known")
    assert catalogue.titles[2].startswith("Third")
    assert catalogue.titles[3] == "film 40"
    assert catalogue.tags == (("Action", "Drama"), (), ("Action", "Drama"), ())
    assert catalogue.artists == ("",) * 4


def test_the_folder_and_the_one_it_lies_in_both_do(dataset):
    assert dataset.reader(dataset.folder).train.data_hash == dataset.read().train.data_hash


def test_nothing_there_says_where_to_get_it(dataset, tmp_path):
    for data in (None, tmp_path / "elsewhere"):
        with pytest.raises(
            DataNotFound, match=r"https://grouplens\.org/datasets/movielens/1.*--data or FEDPERSONA_DATA"
        ):
            dataset.reader(data)


@pytest.mark.parametrize("which", ["ratings", "films"])
def test_a_missing_file_is_not_found(dataset, which):
    getattr(dataset, which).unlink()
    with pytest.raises(DataNotFound, match=dataset.folder.name):
        dataset.read()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("1", "20", "5"), "3 columns where 4 belong (user, film, rating, timestamp)"),
        (("1", "x", "5", "900"), "film is 'x': a whole number belongs there"),
        (("1", "20", "5", "nan"), "timestamp is 'nan': a whole number belongs there"),
        (("-1", "20", "5", "900"), "user is -1: it cannot be negative"),
        (("1", "20", "5", "901"), "person 1 has item 20 a second time"),
    ],
)
def test_a_malformed_rating_is_named_by_its_line(dataset, row, problem):
    dataset.rewrite(dataset.ratings, 4, dataset.separator.join(row))
    assert dataset.refusal() == f"{dataset.ratings}: line 4: {problem}"


@pytest.mark.parametrize("line", ["", "20", "20|Title|||", "20::Title", "x::Title::Drama", f"x|T||||{FLAGS_UNKNOWN}"])
def test_a_malformed_film_is_named_by_its_line(dataset, line):
    dataset.rewrite(dataset.films, 2, line)
    assert dataset.refusal().startswith(f"{dataset.films}: line 2: a film's id, its title and its genres belong here")


def test_an_empty_file_of_ratings_is_named(dataset):
    dataset.ratings.write_bytes(b"")
    assert dataset.refusal() == f"{dataset.ratings}: has no lines to read"
