"""The world that invented people listen to: genres, artists, tracks, how popular each is, and where it lies.

Inside a genre every track has a place on two circles, "mood" and "era". A circle is measured in listening: a track
takes a stretch as long as its share of the genre's plays, so that people spread evenly over a circle play each track
as often as its popularity says, and neighbours in taste play the same tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.randomness import generator
from fedpersona.simulation.synthetic.config import SyntheticConfig
from fedpersona.simulation.synthetic.names import artist_names, genre_names, tag_names, track_titles

__all__ = ["AXES", "Axis", "World", "make_world"]

AXES = 2
_TRACKS_A_GENRE = 40
_SLOTS_A_TRACK = 4
_PLACE_OF_A_TRACK = 0.01


@dataclass(frozen=True, eq=False)
class Axis:
    """One circle a genre, all laid end to end; a popular track has several slots on it."""

    ends: NDArray[np.float64]
    """Running sum of the slots' listening over all genres, ascending to 1, shape (slots,)."""
    tracks: NDArray[np.int32]
    """The track of each slot, shape (slots,)."""


@dataclass(frozen=True, eq=False)
class World:
    """All that people draw from; it depends on the seed, the settings and the number of items, on no person."""

    catalogue: Catalogue
    genre_starts: NDArray[np.float64]
    """Where each genre begins on every axis, from 0 to 1, shape (genres + 1,)."""
    axes: tuple[Axis, ...]
    """The circles of mood and of era."""
    artist_of: NDArray[np.int32]
    """Artist of each track, ascending: an artist's tracks are neighbouring rows, shape (items,)."""
    artist_bounds: NDArray[np.int64]
    """Rows where each artist's tracks begin, and the end, shape (artists + 1,)."""
    running_popularity: NDArray[np.float64]
    """Running sum of the tracks' popularity by row, ascending to 1, shape (items,)."""


def make_world(items: int, seed: int, config: SyntheticConfig) -> World:
    """Make the world of ``items`` tracks."""
    rng = generator(seed, "synthetic world")
    artist_of = _artists(items, config, rng)
    artists = int(artist_of[-1]) + 1
    genres = max(1, min(config.genres, items // _TRACKS_A_GENRE))
    genre_of_artist = rng.choice(genres, artists, p=_genre_sizes(genres))
    popularity = _popularity(artist_of, config, rng)
    genre_of = genre_of_artist[artist_of]
    # Two places of an artist, which its tracks share but for a little: artist loyalty is in the places too.
    places = rng.random((AXES, artists))[:, artist_of] + _PLACE_OF_A_TRACK * rng.standard_normal((AXES, items))
    places %= 1.0
    shares = np.bincount(genre_of, popularity, minlength=genres)
    starts = np.concatenate(([0.0], np.cumsum(shares)))
    starts[-1] = 1.0
    return World(
        catalogue=_catalogue(artist_of, genre_of, places, genres, seed),
        genre_starts=starts,
        axes=tuple(_axis(place, genre_of, popularity, config, rng) for place in places),
        artist_of=artist_of,
        artist_bounds=np.searchsorted(artist_of, np.arange(artists + 1)),
        running_popularity=_running(popularity),
    )


def _running(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    running = np.cumsum(weights)
    running /= running[-1]
    return running


def _genre_sizes(genres: int) -> NDArray[np.float64]:
    sizes = 1.0 / np.sqrt(np.arange(1, genres + 1))
    return np.asarray(sizes / sizes.sum())


def _artists(items: int, config: SyntheticConfig, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the artist of each track: Zipf's law decides how many an artist has, at least one each."""
    artists = max(1, round(items / config.tracks_per_artist))
    weights = 1.0 / (np.arange(1, artists + 1) + 2.0) ** 0.8
    sizes = 1 + np.floor((items - artists) * weights / weights.sum()).astype(np.int64)
    sizes[: items - int(sizes.sum())] += 1
    return np.repeat(np.arange(artists, dtype=np.int32), rng.permutation(sizes))


def _popularity(artist_of: NDArray[np.int32], config: SyntheticConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return each track's share of all plays: Zipf-Mandelbrot by rank, tracks of known artists higher up."""
    items = len(artist_of)
    fame = rng.standard_normal(int(artist_of[-1]) + 1)[artist_of] + rng.standard_normal(items)
    popularity = np.empty(items)
    popularity[np.argsort(-fame)] = (np.arange(1, items + 1) + config.zipf_offset) ** -config.zipf_exponent
    return np.asarray(popularity / popularity.sum())


def _axis(
    places: NDArray[np.float64],
    genre_of: NDArray[np.int64],
    popularity: NDArray[np.float64],
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> Axis:
    """Lay the tracks out on the circles, popular ones in several slots around their place.

    In one slot, a hit would fill a stretch so long that the people living there found nothing else.
    """
    genre_share = np.bincount(genre_of, popularity)[genre_of]
    genre_tracks = np.bincount(genre_of)[genre_of]
    slots = np.ceil(popularity / genre_share * genre_tracks * _SLOTS_A_TRACK).astype(np.int64)
    tracks = np.repeat(np.arange(len(places), dtype=np.int32), slots)
    place = places[tracks] + config.appeal_spread * rng.standard_normal(len(tracks))
    place[np.concatenate(([0], np.cumsum(slots)[:-1]))] = places  # the first slot of a track is at its own place
    order = np.lexsort((place % 1.0, genre_of[tracks]))
    return Axis(ends=_running((popularity / slots)[tracks][order]), tracks=tracks[order])


def _catalogue(
    artist_of: NDArray[np.int32],
    genre_of: NDArray[np.int64],
    places: NDArray[np.float64],
    genres: int,
    seed: int,
) -> Catalogue:
    names = artist_names(int(artist_of[-1]) + 1, generator(seed, "synthetic artist names"))
    return Catalogue.create(
        [f"track-{row:06d}" for row in range(len(artist_of))],
        titles=track_titles(artist_of, generator(seed, "synthetic track titles")),
        artists=[names[artist] for artist in artist_of.tolist()],
        tags=tag_names(genre_names(genres), genre_of, places),
        kind="track",
    )
