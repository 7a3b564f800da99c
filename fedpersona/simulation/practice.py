"""A practice server: the whole loop with a real device and invented others, in one process on one machine.

It shows a person what taking part is like before there is a server to trust: nothing leaves the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.catalogue import Catalogue
from fedpersona.device import starter
from fedpersona.privacy.secagg import Parameters
from fedpersona.randomness import generator
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.population import Population
from fedpersona.taste import Subspace

__all__ = ["PRACTICE", "invent_crowd", "practice"]

PRACTICE = "https://practice.invalid"
"""Its address; the ending is one that no network ever has (RFC 2606)."""

_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"fedpersona's practice server").digest())
"""No secret, and the same everywhere: it signs only what is in this process already."""

_PEOPLE = 80
_MASKS = Parameters(56, 41)  # fewer than a real server's, for a first look at it; above what a device asks at least
_FAVOURITES = 2  # tags a person loves
_LOVE = 60.0  # how much more often they play what has one of them


def invent_crowd(catalogue: Catalogue, people: int = _PEOPLE, *, seed: int = 0) -> Population:
    """Invent people who love a few tags each, and play what is well known more often.

    Args:
        catalogue: in the rough order of how well known its items are.
        people: how many.
        seed: another seed, other people.
    """
    rng = generator(seed, "practice crowd")
    tags = sorted({tag for row in catalogue.tags for tag in row})
    place = {tag: number for number, tag in enumerate(tags)}
    has = np.zeros((len(catalogue), len(tags)))
    for row, names in enumerate(catalogue.tags):
        has[row, [place[tag] for tag in names]] = 1.0
    fame = 1.0 / np.sqrt(np.arange(len(catalogue)) + 20.0)
    common = np.sqrt(has.sum(axis=0))  # what is rare has its lovers, too
    who, what = [], []
    for person in range(people):
        loved = rng.choice(len(tags), min(_FAVOURITES, len(tags)), replace=False, p=common / common.sum())
        chances = fame * (1.0 + _LOVE * has[:, loved].sum(axis=1)) ** 1.5
        count = min(len(catalogue) // 2, int(rng.integers(20, 60)))
        chosen = rng.choice(len(catalogue), count, replace=False, p=chances / chances.sum())
        who += [person] * count
        what += chosen.tolist()
    return Population.from_pairs(
        "practice crowd", catalogue, np.array(who), np.array(what), person_ids=np.arange(people)
    )


@contextmanager
def practice(*, patience: float = 2.0) -> Iterator[LocalFederation]:
    """Serve a practice federation over the starter catalogue, as long as the context lasts."""
    crowd = invent_crowd(starter.catalogue())
    with LocalFederation(Subspace(dim=64), crowd, key=_KEY, masks=_MASKS, patience=patience).at(PRACTICE) as federation:
        yield federation
