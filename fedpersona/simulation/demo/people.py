"""The invented people of the demo: a few kinds of taste, and for each person names that no catalogue has."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError
from fedpersona.randomness import generator

__all__ = ["Canary", "Person", "Play", "invent"]

_SCENES = 4  # kinds of taste among the people
_POOL = 48  # tracks of a scene that its people play
_OWN = (20, 29)  # tracks of their own scene that a person plays, from and below
_OTHER = 4  # tracks of anything
_CANARIES = 3  # tracks of a person that are in no catalogue
_DAY = 86_400
_YEAR = 365 * _DAY
_AGE = 3 * _DAY  # the newest play is older than anything that the demo itself does
_SYLLABLES = ("vrel", "quon", "dax", "mirth", "zolp", "ketra", "jund", "wysk", "thrab", "elvi", "goshu", "pnim")
_MARKS = ("ø", "é", "ß", "ñ", "ü", "å")  # names are not plain letters everywhere


@dataclass(frozen=True)
class Play:
    """One play. Its ``repr`` shows nothing of it."""

    artist: str = field(repr=False)
    title: str = field(repr=False)
    at: int = field(repr=False)
    """When it began, Unix seconds."""
    seconds: int = field(repr=False)
    """How long it played."""


@dataclass(frozen=True)
class Canary:
    """Names of one person that exist nowhere else: where one of them appears, this person's history has leaked."""

    user: str
    artist: str
    titles: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.user, self.artist, *self.titles)


@dataclass(frozen=True)
class Person:
    """One invented person."""

    number: int
    """From 0."""
    plays: tuple[Play, ...] = field(repr=False)
    """What they played, oldest first: of the catalogue, and their canaries. The held-out track is not among it."""
    rows: tuple[int, ...] = field(repr=False)
    """Rows of the catalogue that they played, increasing."""
    held_out: int = field(repr=False)
    """A row of the catalogue that they played too, and that is kept out of the export: what a model should find."""
    canary: Canary = field(repr=False)

    @property
    def name(self) -> str:
        """What the demo calls them."""
        return f"Person {self.number + 1}"


def invent(catalogue: Catalogue, people: int, *, seed: int, now: float) -> tuple[Person, ...]:
    """Invent people over a catalogue.

    Args:
        catalogue: with tags; a scene is what has one tag.
        people: how many.
        seed: another seed, other people.
        now: Unix seconds; every play is some days to a year before.

    Raises:
        ConfigError: the catalogue has too few tags that enough tracks share.
    """
    rng = generator(seed, "demo people")
    scenes = _scenes(catalogue, rng)
    newest = int(now) - _AGE
    # No two plays of the demo begin in one second: a time that is found says whose it is.
    times = rng.choice(_YEAR // 2, size=people * 160, replace=False) * 2
    used = 0
    found = []
    for number in range(people):
        own = rng.choice(scenes[number % len(scenes)], int(rng.integers(*_OWN)), replace=False)
        other = rng.choice(len(catalogue), _OTHER, replace=False)
        liked = rng.permutation(np.unique(np.concatenate([own, other])))
        held_out = int(rng.choice(own))
        rows = np.sort(liked[liked != held_out])
        canary = _canary(rng, number)
        names = [(catalogue.artists[row], catalogue.titles[row]) for row in rows for _ in range(rng.integers(1, 4))]
        names += [(canary.artist, title) for title in canary.titles]
        moments = newest - times[used : used + len(names)]
        used += len(names)
        plays = sorted(
            (
                Play(artist, title, int(at), int(rng.integers(95, 400)))
                for (artist, title), at in zip(names, moments, strict=True)
            ),
            key=lambda play: play.at,
        )
        found.append(Person(number, tuple(plays), tuple(map(int, rows)), held_out, canary))
    return tuple(found)


def _scenes(catalogue: Catalogue, rng: np.random.Generator) -> list[np.ndarray]:
    """Return pools of rows, one a scene, that share no row."""
    by_tag: dict[str, list[int]] = {}
    for row, tags in enumerate(catalogue.tags):
        for tag in tags:
            by_tag.setdefault(tag, []).append(row)
    taken: set[int] = set()
    pools: list[np.ndarray] = []
    for tag in rng.permutation(sorted(by_tag)):
        free = [row for row in by_tag[tag] if row not in taken]
        if len(free) < _POOL or len(by_tag[tag]) > len(catalogue) // 5:  # a tag of everything is no taste
            continue
        pools.append(rng.choice(free, _POOL, replace=False))
        taken.update(map(int, pools[-1]))
        if len(pools) == _SCENES:
            return pools
    raise ConfigError(f"the demo needs a catalogue with {_SCENES} tags of {_POOL} tracks each")


def _canary(rng: np.random.Generator, number: int) -> Canary:
    return Canary(
        user=f"{_word(rng, 4)}-{_word(rng, 2)}-{number + 1}",
        artist=f"{_word(rng, 3).capitalize()} {rng.choice(_MARKS)}{_word(rng, 3)}",
        titles=tuple(f"{_word(rng, 3).capitalize()} {_word(rng, 3)}" for _ in range(_CANARIES)),
    )


def _word(rng: np.random.Generator, syllables: int) -> str:
    return "".join(rng.choice(_SYLLABLES, syllables))
