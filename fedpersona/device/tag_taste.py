"""A taste without any shared model: what a person plays, by tags and artists, against what the catalogue says.

For the time before a server's model has come. Everything is computed here, from the public catalogue and the
person's own plays. Salton and Buckley (1988) describe the weighting of words by how rare they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedpersona.catalogue import Catalogue
from fedpersona.device.matching import normalised_artist
from fedpersona.errors import DataError
from fedpersona.plays import Plays

__all__ = ["TagTaste"]

_LEADING_TAGS = 5
_ARTIST = 0.5  # how much the same artist counts beside the same rarest tag
_FAME = 0.15  # exponent of the place in the catalogue: a taste decides, fame settles what it leaves open
_FAME_OFFSET = 20.0
_LIKENESS = 2.0
_SMALLEST = 1e-300


class TagTaste:
    """One person's taste by tags over one catalogue. Its ``repr`` shows a count only.

    An item is a vector of its leading tags, each weighted by how rare it is, and of its artist, of length 1. The
    person's score of an item is the sum over what they played of weight times likeness squared: what shares genre,
    mood and decade with a favourite counts far more than what shares one of them with much of the history. The rows of the catalogue are
    taken to be in the rough order of how well known they are.

    Args:
        catalogue: what there is.
        plays: what of it the person played.
        artists: plays by artist, in any spelling, of tracks that the catalogue does not have; those of artists
            it knows count for what it has of them.

    Raises:
        DataError: the plays are not of this catalogue.
    """
