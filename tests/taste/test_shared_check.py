"""A shared model that came over the wire is checked before anything is computed from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.errors import LayoutMismatch
from fedpersona.taste import MODELS, create
from tests.taste.test_taste_models import SMALL, VARIANTS, trained


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_every_model_of_our_own_making_passes(name, settings, population):
    model, shared = trained(name, settings, population)
    model.check(model.init(population.catalogue, 0), population.catalogue)
    model.check(shared, population.catalogue)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_an_array_that_is_missing_misshapen_or_not_finite_is_named(name, settings, population):
    model, shared = trained(name, settings, population)
    for array in shared.arrays:
        whole = dict(shared.arrays)
        nan = whole[array].copy()
        nan.flat[0] = np.nan
        for spoilt in (whole[array][..., None], whole[array].astype(np.float64), nan):
            with pytest.raises(LayoutMismatch, match=f"'{array}'|'head'"):
                model.check(replace(shared, arrays={**whole, array: spoilt}), population.catalogue)
        del whole[array]
        with pytest.raises(LayoutMismatch):
            model.check(replace(shared, arrays=whole), population.catalogue)
    with pytest.raises(LayoutMismatch):
        model.check(replace(shared, arrays={**shared.arrays, "program": nan}), population.catalogue)
    with pytest.raises(LayoutMismatch, match="catalogue"):
        model.check(replace(shared, catalogue="another"), population.catalogue)


@pytest.mark.parametrize(
    ("name", "array", "absurd"),
    [
        ("popularity", "listeners", (-1.0, 1.1e9, 3e38)),
        ("subspace", "basis", (3e38, -3e38, 1.01, -1.01)),
        ("subspace", "strength", (-1e-3, -3e38)),
        ("subspace", "listeners", (-0.5, 3e38)),
        ("ease", "head", (3e38, -1.0)),
        ("ease", "weights", (1.1e6, -1.1e6, 3e38)),
        ("ease", "listeners", (-1.0, 3e38)),
        ("ease", "people", (-1.0, 3e38)),
        ("ials", "factors", (1.1e6, -1.1e6, 3e38)),
        ("ials", "gram", (3e38, -3e38, 0.0)),
        ("ials", "listeners", (-1.0, 3e38)),
    ],
)
def test_a_finite_but_absurd_entry_is_refused_and_named(name, array, absurd, population):
    model, shared = trained(name, SMALL[name], population)
    for value in absurd:
        spoilt = shared[array].copy()
        spoilt.flat[-1] = value
        with pytest.raises(LayoutMismatch, match=f"'{array}'"):
            model.check(replace(shared, arrays={**shared.arrays, array: spoilt}), population.catalogue)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_whatever_passes_gives_finite_scores(name, settings, population):
    """The largest and the smallest entries that are let through, all of them at once."""
    model, shared = trained(name, {**settings, "recency": 3.0}, population)
    plays = population.plays(0)
    for end in (0, 1):
        arrays = dict(shared.arrays)
        for array, ends in model.ranges().items():
            if array not in ("head", "gram"):
                arrays[array] = np.full_like(arrays[array], np.clip(ends[end], -3e38, 3e38))
        if "gram" in arrays:
            factors = arrays["factors"].astype(np.float64)
            arrays["gram"] = (factors.T @ factors).astype(np.float32)
        extreme = replace(shared, arrays=arrays)
        model.check(extreme, population.catalogue)
        scores = model.scores(extreme, model.personalise(extreme, plays), plays)
        assert np.isfinite(scores).all()
        assert np.isfinite(model.explain(extreme, 3, plays)).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_default_settings_and_many_items_passes(name):
    catalogue = Catalogue.create(str(n) for n in range(2000))
    model = create(name)
    model.check(model.init(catalogue, 0), catalogue)


@pytest.mark.parametrize("head", [[-1.0], [40.0], [0.5], [3.0, 3.0], [5.0, 4.0]])
def test_a_head_that_is_no_list_of_rows_is_refused(head, population):
    settings = {"head": len(head)}
    model, shared = trained("ease", settings, population)
    with pytest.raises(LayoutMismatch, match="head"):
        model.check(replace(shared, arrays={**shared.arrays, "head": np.array(head, np.float32)}), population.catalogue)
