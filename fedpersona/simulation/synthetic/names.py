"""Invented names of artists, tracks, genres and tags: pleasant to read, and nobody's."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["artist_names", "genre_names", "tag_names", "track_titles"]


def _words(text: str) -> list[str]:
    return text.split()


_ONSETS = _words("b br d dr f fl g gl h j k kl l m n p pr r s sh sk st t th tr v w y z")
_VOWELS = _words("a e i o u a e i o a e o ei ou")
_MIDDLES = _words("l n r s th m d nd rn ll v z k")
_ENDINGS = _words("a o en ir ou is elle ane ost ume ith ara")

_PLACES = _words(
    """
    Orchard Harbour Parade Cartel Choir Assembly Arcade Committee Weather Motel Garden Ensemble
    """
)

_ADJECTIVES = _words(
    """
    amber borrowed bright broken cold copper crooked distant early electric empty faded final folded frozen
    gentle gilded half-lit hidden hollow idle invisible last late lonely long low narrow northern open pale
    paper patient quiet restless rusted salted second silent silver slow small soft spare strange tidal
    unsent velvet warm weightless wide winter yellow
    """
)
_NOUNS = _words(
    """
    almanac anchor antenna atlas balcony bicycle blueprint bonfire bridge calendar candle canyon chimney
    clockwork coastline compass corridor curtain delta elevator envelope ferry field fountain gallery
    glacier hallway harvest horizon island kettle ladder lagoon lantern letter lighthouse machine magnet map
    meadow meridian mirror monsoon morning needle novel ocean orbit orchard pavement pendulum piano pigeon
    planet postcard prism radio railway reservoir river rooftop satellite season shadow signal snowfall
    staircase station suitcase summer telegram terrace theatre tunnel umbrella valley voyage window
    """
)
_OPENINGS = _words(
    """
    After Before Beneath Beyond Letters_to Leaving Counting Towards Under Waiting_for Without
    """
)

_STYLES = _words("folk jazz pop rock soul techno dub choral disco punk ambient blues")
_MOODS = _words(
    """
    dusk harbour glass ember meadow neon cedar tundra velvet copper lagoon orbit
    """
)
_MOOD_TAGS = _words("wistful dreamy warm playful euphoric restless fierce sombre")
_ERA_TAGS = _words("parlour valve transistor cassette sampler laptop")


def genre_names(genres: int) -> tuple[str, ...]:
    """Return that many genres, no two alike; 144 are of two words, later ones carry a number."""
    names = []
    for number in range(genres):
        turn, style = divmod(number, len(_STYLES))
        again, mood = divmod(turn, len(_MOODS))
        name = f"{_MOODS[(mood + style) % len(_MOODS)]} {_STYLES[style]}"
        names.append(f"{name} {again + 1}" if again else name)
    return tuple(names)


def tag_names(
    genres: tuple[str, ...], genre_of: NDArray[np.int64], places: NDArray[np.float64]
) -> list[tuple[str, str, str]]:
    """Return genre, mood and era of each track, from where it lies in its genre.

    Args:
        genres: names of the genres.
        genre_of: genre of each track, shape (items,).
        places: its place in [0, 1) on the circles of mood and era, shape (2, items).
    """
    moods = (places[0] * len(_MOOD_TAGS)).astype(np.int64)
    eras = (places[1] * len(_ERA_TAGS)).astype(np.int64)
    return [
        (genres[genre], _MOOD_TAGS[mood], _ERA_TAGS[era])
        for genre, mood, era in zip(genre_of.tolist(), moods.tolist(), eras.tolist(), strict=True)
    ]


def artist_names(artists: int, rng: np.random.Generator) -> list[str]:
    """Return that many artists' names, no two alike."""
    names: dict[str, None] = {}
    while len(names) < artists:
        draws = rng.random((artists, 9)).tolist()
        for draw in draws:
            names.setdefault(_artist_name(draw))
    return list(names)[:artists]


def _artist_name(draw: list[float]) -> str:
    # Never one made-up word alone: so short a name is too often somebody's.
    form = draw[8]
    first = _word(draw[:4])
    if form < 0.50:
        return f"{first} {_word(draw[4:8])}"
    if form < 0.75:
        return f"The {first}s"
    return f"{first} {_pick(_PLACES, draw[4])}"


def _word(draw: list[float]) -> str:
    """Return a made-up word of two or three syllables."""
    onset, vowel, middle, ending = draw
    return (
        _pick(_ONSETS, onset) + _pick(_VOWELS, vowel) + _pick(_MIDDLES, middle) + _pick(_ENDINGS, ending)
    ).capitalize()


def track_titles(artist_of: NDArray[np.int32], rng: np.random.Generator) -> list[str]:
    """Return a title of each track, no two of an artist alike.

    Args:
        artist_of: artist of each track, ascending, shape (items,).
        rng: where the titles are drawn from.
    """
    bounds = [0, *(np.flatnonzero(np.diff(artist_of)) + 1).tolist(), len(artist_of)]
    draws = rng.random((len(artist_of), 4)).tolist()
    titles: list[str] = []
    for begin, end in pairwise(bounds):
        used: set[str] = set()
        for draw in draws[begin:end]:
            title = _unused(_title(draw), used)
            used.add(title)
            titles.append(title)
    return titles


def _unused(title: str, used: set[str]) -> str:
    version, name = 1, title
    while name in used:
        version += 1
        name = f"{title}, Part {version}"
    return name


def _title(draw: list[float]) -> str:
    adjective = _pick(_ADJECTIVES, draw[0]).capitalize()
    noun, second = (_pick(_NOUNS, d).capitalize() for d in draw[1:3])
    form = draw[3]
    if form < 0.35:
        return f"{adjective} {noun}"
    if form < 0.50:
        return f"{noun} for {_a(second)}"
    if form < 0.65:
        return f"{noun} and {second}" if noun != second else f"Another {noun}"
    if form < 0.80:
        opening = _pick(_OPENINGS, draw[2]).replace("_", " ")
        return f"{opening} the {noun}"
    if form < 0.92:
        return f"The {adjective} {noun}"
    return f"{noun}, {adjective}"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def _pick(words: list[str], draw: float) -> str:
    return words[int(draw * len(words))]
