"""From a seed to a population, chunk by chunk of people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError
from fedpersona.randomness import generator
from fedpersona.simulation.population import Population
from fedpersona.simulation.synthetic.config import SyntheticConfig
from fedpersona.simulation.synthetic.histories import Histories, HistoryTable, merge_finds
from fedpersona.simulation.synthetic.listeners import draw_finds, draw_listeners
from fedpersona.simulation.synthetic.sessions import Sessions, draw_sessions, hour_table
from fedpersona.simulation.synthetic.world import World, make_world

__all__ = ["generate"]

MAX_PEOPLE = 1_000_000
MAX_ITEMS = 1_000_000
_CHUNK = 1_024
# More finds than tracks, since some find again what they know already.
_FINDS_A_TRACK = 2.0
_SPARE_FINDS = 24


def generate(
    *, people: int = 2_000, items: int | None = None, seed: int, config: SyntheticConfig | None = None
) -> Population:
    """Invent a population: a catalogue of tracks, and people with play counts and the time of each last play.

    The same arguments give the same population to the bit. With the same ``items``, seed and settings, a larger
    population begins with the people of a smaller one.

    Args:
        people: how many people, 1 to 1,000,000.
        items: how many tracks, 1 to 1,000,000; 2.5 a person by default, from 100 to 50,000.
        seed: a whole number, 0 or more.
        config: how they listen.

    Raises:
        ConfigError: a size or the seed is out of its range.
    """
    config = config or SyntheticConfig()
    _check("people", people, 1, MAX_PEOPLE)
    items = min(max(people * 5 // 2, 100), 50_000) if items is None else items
    _check("items", items, 1, MAX_ITEMS)
    _check("seed", seed, 0, 2**63 - 1)
    world, hours = make_world(items, seed, config), hour_table(config)
    table = HistoryTable.empty(people, room=int(people * config.median_history * 1.25) + _CHUNK)
    for number in range(-(-people // _CHUNK)):
        table.append(_chunk(world, hours, config, generator(seed, "synthetic people", device=number)))
    table.resize(int(table.indptr[-1]))
    return Population(
        name="synthetic",
        catalogue=world.catalogue,
        indptr=table.indptr,
        items=table.items,
        weights=table.weights,
        times=table.times,
        person_ids=np.arange(people, dtype=np.int64),
    )


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} is {value!r}: give a whole number")
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value:,}: choose one from {low:,} to {high:,}")


def _chunk(world: World, hours: NDArray[np.float64], config: SyntheticConfig, rng: np.random.Generator) -> Histories:
    """Draw the histories of one chunk of people, always a whole one, so that nobody depends on how many are asked."""
    listeners = draw_listeners(_CHUNK, world, config, rng)
    draws = np.ceil(listeners.length * _FINDS_A_TRACK).astype(np.int64) + _SPARE_FINDS
    person = np.repeat(np.arange(_CHUNK, dtype=np.int32), draws)
    sessions = draw_sessions(draws, hours, config, rng)
    tracks = draw_finds(person, sessions.progress, listeners, world, config, rng)
    tracks = _stay_with_artist(tracks, sessions, world, config, rng)
    return merge_finds(draws, tracks, sessions.time, listeners.length, config, rng)


def _stay_with_artist(
    tracks: NDArray[np.int32],
    sessions: Sessions,
    world: World,
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Replace some finds by another track, drawn by popularity, of the artist whom the session began with."""
    staying = np.flatnonzero(rng.random(len(tracks), dtype=np.float32) < config.loyalty)
    leader = tracks[sessions.begins[sessions.session[staying]]]
    bounds = world.artist_bounds[world.artist_of[leader][:, None] + np.arange(2)]
    running = np.concatenate(([0.0], world.running_popularity))
    low, high = running[bounds[:, 0]], running[bounds[:, 1]]
    found = np.searchsorted(world.running_popularity, low + rng.random(len(staying)) * (high - low), side="right")
    chosen = tracks.copy()
    chosen[staying] = np.clip(found, bounds[:, 0], bounds[:, 1] - 1)
    return chosen
