"""Against a person's own copy of the real files; skipped where there is none."""

import hashlib

import numpy as np
import pytest

from fedpersona.simulation import datasets

pytestmark = pytest.mark.real_data


def test_lastfm_2k_splits_as_the_fixed_split_has_it():
    if datasets.available()["lastfm-2k"] is None:
        pytest.skip("FEDPERSONA_DATA names no folder with lastfm-2k")
    split = datasets.load("lastfm-2k", seed=12345)
    assert (len(split.train), len(split.catalogue), split.train.interactions) == (1869, 4607, 73_694)
    held_out = (split.train.items, split.val, split.test, split.val_negatives, split.test_negatives)
    digest = hashlib.sha256(b"".join(np.asarray(array, "<i4").tobytes() for array in held_out)).hexdigest()
    assert digest == "4260e22065920cc8c0c0595a9fd956f7b7e6744ae0f5f37e76cc7063f843723a"


def test_ml_100k_has_the_sizes_of_its_readme():
    if datasets.available()["ml-100k"] is None:
        pytest.skip("FEDPERSONA_DATA names no folder with ml-100k")
    split = datasets.load("ml-100k", seed=12345)
    assert (len(split.train), len(split.catalogue), split.train.interactions) == (943, 1682, 98_114)


def test_ml_1m_has_the_sizes_of_its_readme():
    if datasets.available()["ml-1m"] is None:
        pytest.skip("FEDPERSONA_DATA names no folder with ml-1m")
    split = datasets.load("ml-1m", seed=12345)
    assert (len(split.train), len(split.catalogue), split.complete.interactions) == (6040, 3706, 1_000_209)
