"""The invented population: the same for a seed for ever, of any size, and with tastes that can be learned."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp

from fedpersona.errors import ConfigError
from fedpersona.simulation.population import Population
from fedpersona.simulation.synthetic import SyntheticConfig, generate
from fedpersona.simulation.synthetic.sessions import END

PERIOD = 180 * 86_400


@pytest.fixture(scope="module")
def population() -> Population:
    return generate(people=1_500, items=1_500, seed=5)


def _matrix(population: Population) -> sp.csr_array:
    shape = (len(population), len(population.catalogue))
    return sp.csr_array((np.ones(population.interactions), population.items, population.indptr), shape=shape)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"people": 0}, "people"),
        ({"people": -3}, "people"),
        ({"people": 1_000_001}, "1,000,000"),
        ({"people": 2.0}, "whole number"),
        ({"people": True}, "whole number"),
        ({"people": 10, "items": 0}, "items"),
        ({"people": 10, "items": 10_000_000}, "items"),
        ({"people": 10, "seed": -1}, "seed"),
    ],
)
def test_a_size_out_of_range_is_refused_by_name(sizes, named):
    with pytest.raises(ConfigError, match=named):
        generate(**{"seed": 1, **sizes})


@pytest.mark.parametrize(
    "setting",
    [
        {"mainstream": 1.5},
        {"breadth": float("nan")},
        {"tastes": 0},
        {"tastes": 2.5},
        {"months": "six"},
        {"zipf_exponent": float("inf")},
        {"shortest_history": 50, "longest_history": 40},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SyntheticConfig(**setting)


@pytest.mark.parametrize(("people", "items"), [(1, 1), (1, 2), (3, 10), (1, 5_000), (1_025, 30)])
def test_tiny_and_lopsided_sizes_work(people, items):
    population = generate(people=people, items=items, seed=0)
    assert len(population) == people
    assert len(population.catalogue) == items
    assert (np.diff(population.indptr) >= 1).all()
    assert population.items.max() < items


@pytest.mark.parametrize(
    "config",
    [
        SyntheticConfig(tracks_per_artist=1.0, tastes=1, genres=1, months=1),
        SyntheticConfig(taste_evenness=0.01, share_drift=10.0, zipf_exponent=3.0, zipf_offset=0.0),
        SyntheticConfig(mainstream=1.0, chance=1.0, loyalty=1.0, tracks_per_session=100.0),
        SyntheticConfig(tracks_per_artist=100.0, median_repeats=1000.0, repeat_spread=3.0),
    ],
)
def test_extreme_settings_still_give_sound_histories(config):
    population = generate(people=20, items=300, seed=9, config=config)
    for person in range(20):
        plays = population.plays(person)  # checks order and weights
        assert len(plays) >= 1
    assert population.times is not None
    assert population.times.max() < END


def test_the_default_number_of_items_follows_the_people():
    assert len(generate(people=943, seed=1).catalogue) == 2_357
    assert len(generate(people=1, seed=1).catalogue) == 100


def test_the_same_seed_gives_the_same_population_and_another_seed_another():
    one, again, other = (generate(people=200, seed=seed) for seed in (3, 3, 4))
    assert one.data_hash == again.data_hash
    assert one.data_hash != other.data_hash
    assert one.catalogue.version != other.catalogue.version


def test_a_setting_changes_the_data():
    changed = generate(people=50, seed=3, config=SyntheticConfig(loyalty=0.9))
    assert changed.data_hash != generate(people=50, seed=3).data_hash


def test_a_larger_population_begins_with_the_people_of_a_smaller_one():
    small, large = (generate(people=people, items=600, seed=8) for people in (1_030, 2_100))
    end = small.interactions
    assert np.array_equal(large.indptr[:1_031], small.indptr)
    assert np.array_equal(large.items[:end], small.items)
    assert np.array_equal(large.weights[:end], small.weights)
    assert np.array_equal(large.times[:end], small.times)


def test_people_of_different_chunks_differ(population):
    # The first person of each chunk: equal if the chunks' draws were not keyed apart.
    assert not np.array_equal(population.plays(0).items, population.plays(1_024).items)


def test_arrays_have_the_promised_types(population):
    kinds = (population.indptr, population.items, population.weights, population.times, population.person_ids)
    assert [a.dtype for a in kinds] == [np.int64, np.int32, np.float32, np.int64, np.int64]
    assert population.catalogue.kind == "track"
    assert population.name == "synthetic"


def test_weights_are_whole_counts_with_some_repeats(population):
    assert np.array_equal(population.weights, np.floor(population.weights))
    assert population.weights.min() == 1
    assert 0.1 < (population.weights == 1).mean() < 0.9


def test_history_lengths_have_the_wanted_median_a_tail_and_a_cap(population):
    lengths = np.diff(population.indptr)
    assert 38 <= np.median(lengths) <= 46
    assert np.percentile(lengths, 95) > 2 * np.median(lengths)
    assert lengths.min() >= 8
    assert (lengths < 10).mean() < 0.002
    capped = generate(people=300, seed=2, config=SyntheticConfig(longest_history=30))
    assert np.diff(capped.indptr).max() == 30


def test_plays_lie_in_the_months_before_the_fixed_end(population):
    assert population.times.max() < END
    assert population.times.min() >= END - PERIOD
    assert population.times.max() - population.times.min() > 0.95 * PERIOD


def test_evenings_and_weekends_have_more_plays(population):
    hour, day = population.times // 3_600 % 24, (population.times // 86_400 + 3) % 7  # the epoch was a Thursday
    by_hour = np.bincount(hour, minlength=24)
    assert by_hour[18:22].min() > 3 * by_hour[2:6].max()
    by_day = np.bincount(day, minlength=7)
    assert by_day[5:].min() > by_day[:5].max()


def test_popular_tracks_are_far_more_popular_than_the_median(population):
    counts = np.sort(population.item_counts)[::-1]
    assert counts[0] > 15 * np.median(counts)
    assert counts[:150].sum() > 0.35 * counts.sum()


def test_titles_are_unique_within_an_artist_and_artists_have_several(population):
    catalogue = population.catalogue
    assert len(set(zip(catalogue.titles, catalogue.artists, strict=True))) == len(catalogue)
    sizes = Counter(catalogue.artists)
    assert len(sizes) == 250
    assert max(sizes.values()) > 3 * np.median(list(sizes.values()))


def test_names_and_tags_can_be_read(population):
    catalogue = population.catalogue
    assert all(text[0].isupper() and text.isascii() and text == text.strip() for text in catalogue.titles)
    assert all(text[0].isupper() and text.isascii() and 3 < len(text) < 30 for text in catalogue.artists)
    assert {len(tags) for tags in catalogue.tags} == {3}
    assert len({tags[0] for tags in catalogue.tags}) > 5


def test_an_artist_keeps_to_one_genre(population):
    pairs = {
        (artist, tags[0]) for artist, tags in zip(population.catalogue.artists, population.catalogue.tags, strict=True)
    }
    assert len(pairs) == len(set(population.catalogue.artists))


def test_people_keep_to_few_genres(population):
    genres = np.unique([tags[0] for tags in population.catalogue.tags], return_inverse=True)[1]
    table = np.zeros((len(population), genres.max() + 1))
    people = np.repeat(np.arange(len(population)), np.diff(population.indptr))
    np.add.at(table, (people, genres[population.items]), 1)
    own = (np.sort(table, axis=1)[:, -4:].sum(axis=1) / table.sum(axis=1)).mean()
    everyone = np.sort(table.sum(axis=0))[-4:].sum() / table.sum()
    assert own > 1.5 * everyone


def test_learned_tastes_beat_popularity_by_far(population):
    """A singular value decomposition of the other plays finds held-out ones far better than popularity does."""
    rng = np.random.default_rng(0)
    held = population.indptr[:-1] + rng.integers(0, np.diff(population.indptr))
    kept = np.ones(population.interactions)
    kept[held] = 0
    seen = sp.csr_array((kept, population.items, population.indptr), shape=_matrix(population).shape).toarray()
    target = population.items[held]
    popularity = seen.sum(axis=0)
    scaled = seen / np.sqrt(np.maximum(popularity, 1))
    vectors = np.linalg.eigh(scaled.T @ scaled)[1][:, -64:]
    learned = (scaled @ vectors) @ vectors.T * np.sqrt(popularity)
    hits = [_hits(scores, seen, target) for scores in (learned, np.tile(popularity, (len(seen), 1)))]
    assert hits[0] > 2 * hits[1]
    assert hits[1] > 0.03


def _hits(scores, seen, target):
    scores = np.where(seen > 0, -np.inf, scores)
    own = scores[np.arange(len(target)), target]
    return float(((scores >= own[:, None]).sum(axis=1) <= 20).mean())


def test_recent_plays_tell_more_about_the_next_than_old_ones():
    population = generate(people=1_000, items=1_500, seed=6)
    genres = np.unique([tags[0] for tags in population.catalogue.tags], return_inverse=True)[1]
    late, early = [], []
    for person in range(len(population)):
        plays = population.plays(person)
        order = np.argsort(plays.last_played, kind="stable")
        by_time = genres[plays.items[order]]
        late.append((by_time[-11:-1] == by_time[-1]).mean() if len(by_time) > 22 else np.nan)
        early.append((by_time[:10] == by_time[-1]).mean() if len(by_time) > 22 else np.nan)
    assert np.nanmean(late) > 1.3 * np.nanmean(early)
