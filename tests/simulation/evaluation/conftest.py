import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.population import Population, Split


def invented_split(people: int = 60, items: int = 80, history: int = 8, seed: int = 0, negatives: int = 0) -> Split:
    """Invented people with histories of equal length; train, val, test and negatives of one person never meet."""
    random = np.random.default_rng(seed)
    popularity = np.log(1.0 / np.arange(1, items + 1))
    drawn = np.argsort(-(popularity + random.gumbel(size=(people, items))), axis=1)
    train = Population.from_pairs(
        "invented",
        Catalogue.create(str(row) for row in range(items)),
        np.repeat(np.arange(people), history),
        drawn[:, :history].ravel(),
        person_ids=np.arange(people) + 1000,
    )
    unseen = drawn[:, history + 2 :]
    sampled = random.permuted(unseen, axis=1)[:, :negatives].astype(np.int32) if negatives else None
    return Split(
        train=train,
        val=drawn[:, history].astype(np.int32),
        test=drawn[:, history + 1].astype(np.int32),
        val_negatives=sampled,
        test_negatives=sampled,
    )


@pytest.fixture(scope="session")
def make_split():
    return invented_split
