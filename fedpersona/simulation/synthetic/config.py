"""The settings of a synthetic population.

The defaults were tuned towards lastfm-2k's figures at its size. What stays different: items of two unlike people share
about a third more listeners than there, and histories have a long tail, where lastfm-2k stops at 50 artists a person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fedpersona.errors import ConfigError

__all__ = ["SyntheticConfig"]

# Setting -> (lowest, highest) allowed.
_RANGES = {
    "genres": (1, 200),
    "tracks_per_artist": (1.0, 100.0),
    "zipf_exponent": (0.0, 3.0),
    "zipf_offset": (0.0, 1000.0),
    "tastes": (1, 16),
    "taste_evenness": (0.01, 100.0),
    "genre_spread": (0.0, 1.0),
    "breadth": (0.0, 1.0),
    "appeal_spread": (0.0, 1.0),
    "mainstream": (0.0, 1.0),
    "chance": (0.0, 1.0),
    "loyalty": (0.0, 1.0),
    "place_drift": (0.0, 1.0),
    "share_drift": (0.0, 10.0),
    "months": (1, 60),
    "tracks_per_session": (1.0, 100.0),
    "median_history": (1, 5_000),
    "history_spread": (0.0, 2.0),
    "shortest_history": (1, 5_000),
    "longest_history": (1, 5_000),
    "repeat_spread": (0.0, 3.0),
    "median_repeats": (0.01, 1000.0),
}


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """How the invented people listen; the same settings and seed give the same population.

    Raises:
        ConfigError: a setting is out of its range.
    """

    genres: int = 30
    """Genres; fewer where the catalogue is too small to fill them."""
    tracks_per_artist: float = 6.0
    """Mean number of tracks of an artist; the sizes follow Zipf's law."""
    zipf_exponent: float = 1.22
    """Exponent s of track popularity, 1 / (rank + offset)^s (Zipf-Mandelbrot)."""
    zipf_offset: float = 12.0
    """Offset of the same: the larger it is, the flatter the head."""
    tastes: int = 6
    """Genres that one person listens to."""
    taste_evenness: float = 2.0
    """Dirichlet concentration of a person's shares of their genres; small means one genre prevails."""
    genre_spread: float = 0.12
    """How far apart a person's genres lie on the circle of genres; 0 means all the same."""
    breadth: float = 0.02
    """Mean distance of a play from the person's place in a genre, in shares of the genre's listening."""
    appeal_spread: float = 0.06
    """How much further than others a popular track reaches, in the same unit."""
    mainstream: float = 0.05
    """Share of finds that come from the general charts, whatever the person's taste."""
    chance: float = 0.03
    """Share of finds that are any track of the catalogue, whatever its popularity."""
    loyalty: float = 0.15
    """Probability that a find in a session is by the artist that the session began with."""
    place_drift: float = 0.06
    """Standard deviation of the step that a person's place in a genre takes each month, in the unit of ``breadth``."""
    share_drift: float = 1.5
    """Standard deviation of the step that the logarithms of a person's shares of their genres take each month."""
    months: int = 6
    """Length of the period, in months of 30 days."""
    tracks_per_session: float = 3.0
    """Mean number of finds in a session."""
    median_history: int = 45
    """Median number of tracks a person plays (log-normal)."""
    history_spread: float = 0.6
    """Standard deviation of the logarithm of that number."""
    shortest_history: int = 10
    """Fewest tracks aimed at; someone of very narrow taste may still find a few less."""
    longest_history: int = 500
    """Most tracks of a person."""
    median_repeats: float = 2.0
    """Median number of further plays of a track someone found (log-normal, rounded down)."""
    repeat_spread: float = 1.3
    """Standard deviation of the logarithm of that number."""

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if self.shortest_history > self.longest_history:
            raise ConfigError(
                f"shortest_history is {self.shortest_history}, above longest_history {self.longest_history}: "
                "lower the one or raise the other"
            )


def _check(name: str, value: object) -> None:
    low, high = _RANGES[name]
    whole = isinstance(low, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ConfigError(f"{name} is {value!r}: give a {'whole ' if whole else ''}number")
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} is {value}: choose one from {low} to {high}")
