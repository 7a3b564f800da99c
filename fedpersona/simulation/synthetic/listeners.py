"""Who listens: each person's genres, their place in each, how these move over the months, and how much they find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpersona.simulation.synthetic.config import SyntheticConfig
from fedpersona.simulation.synthetic.world import AXES, World

__all__ = ["Listeners", "draw_finds", "draw_listeners"]


@dataclass(frozen=True, eq=False)
class Listeners:
    """Private tastes of a chunk of people."""

    genre: NDArray[np.int64]
    """Genres of each person, the same one possibly twice, shape (people, tastes)."""
    place: NDArray[np.float32]
    """Where they are on the circles of each genre in each month, shape (people, months, tastes, 2)."""
    share: NDArray[np.float32]
    """Running sum of the shares of their genres in each month, shape (people, months, tastes)."""
    length: NDArray[np.int64]
    """How many tracks each will have played, shape (people,)."""


def draw_listeners(people: int, world: World, config: SyntheticConfig, rng: np.random.Generator) -> Listeners:
    """Draw the tastes of a chunk of people."""
    # Genres near each other on their circle go together: who likes one is likelier to like the next.
    home = rng.random((people, 1)) + config.genre_spread * rng.standard_normal((people, config.tastes))
    genre = np.searchsorted(world.genre_starts, home % 1.0, side="right") - 1
    length = np.exp(np.log(config.median_history) + config.history_spread * rng.standard_normal(people))
    length = np.clip(np.rint(length), config.shortest_history, config.longest_history).astype(np.int64)
    return Listeners(
        genre=np.minimum(genre, len(world.genre_starts) - 2),
        place=_places(people, config, rng),
        share=_running_shares(people, config, rng),
        length=length,
    )


def _places(people: int, config: SyntheticConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return places that start anywhere and take one random step a month."""
    steps = config.place_drift * rng.standard_normal((people, config.months, config.tastes, AXES), dtype=np.float32)
    steps[:, 0] = rng.random((people, config.tastes, AXES), dtype=np.float32)
    return np.asarray(np.cumsum(steps, axis=1, dtype=np.float32))


def _running_shares(people: int, config: SyntheticConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return running sums of shares that start from a Dirichlet draw and take one random step a month."""
    # The small term keeps a person of a tiny concentration from underflowing to all zeros.
    first = rng.standard_gamma(config.taste_evenness, (people, 1, config.tastes)) + 1e-30
    steps = config.share_drift * rng.standard_normal((people, config.months, config.tastes))
    steps[:, 0] = 0.0
    logarithm = np.log(first) + np.cumsum(steps, axis=1)
    running = np.cumsum(np.exp(logarithm - logarithm.max(axis=2, keepdims=True)), axis=2)
    return np.asarray((running / running[..., -1:]).astype(np.float32))


def draw_finds(
    person: NDArray[np.int32],
    progress: NDArray[np.float32],
    listeners: Listeners,
    world: World,
    config: SyntheticConfig,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Draw the track of each find by its person's taste at that time.

    Args:
        person: the person of each find, by position in the chunk, shape (finds,).
        progress: when it happens, 0 at the beginning of the period and 1 at its end, shape (finds,).
        listeners: the chunk's tastes.
        world: what there is to find.
        config: the settings.
        rng: the chunk's generator.

    Returns:
        Catalogue rows, int32 of shape (finds,).
    """
    finds = len(person)
    month = np.minimum((progress * config.months).astype(np.int64), config.months - 1)
    person_month = person.astype(np.int64) * config.months + month
    taste = _taste(person_month, listeners, rng)
    axis = rng.integers(0, AXES, finds, dtype=np.int8)
    place = listeners.place.ravel()[(person_month * config.tastes + taste) * AXES + axis]
    distance = config.breadth * rng.standard_exponential(finds, dtype=np.float32)
    place += np.where(rng.random(finds, dtype=np.float32) < 0.5, -distance, distance)
    place -= np.floor(place)
    genre = listeners.genre[person, taste]
    starts = world.genre_starts
    position = starts[genre] + place * (starts[genre + 1] - starts[genre])
    charts = rng.random(finds, dtype=np.float32) < config.mainstream
    position[charts] = rng.random(int(charts.sum()))
    tracks = np.empty(finds, np.int32)
    for number, circle in enumerate(world.axes):
        mine = axis == number
        found = np.searchsorted(circle.ends, position[mine], side="right")
        tracks[mine] = circle.tracks[np.minimum(found, len(circle.tracks) - 1)]
    anything = rng.random(finds, dtype=np.float32) < config.chance
    tracks[anything] = rng.integers(0, len(world.catalogue), int(anything.sum()), dtype=np.int32)
    return tracks


def _taste(person_month: NDArray[np.int64], listeners: Listeners, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw which of the person's genres each find is of."""
    tastes = listeners.share.shape[2]
    shares = listeners.share.reshape(-1, tastes)
    draw = rng.random(len(person_month), dtype=np.float32)
    taste = np.zeros(len(person_month), np.int64)
    for number in range(tastes - 1):
        taste += draw >= shares[person_month, number]
    return taste
