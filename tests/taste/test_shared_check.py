"""A shared model that came over the wire is checked before anything is computed from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpersona.errors import LayoutMismatch
from tests.taste.test_taste_models import VARIANTS, trained


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


@pytest.mark.parametrize("head", [[-1.0], [40.0], [0.5], [3.0, 3.0], [5.0, 4.0]])
def test_a_head_that_is_no_list_of_rows_is_refused(head, population):
    settings = {"head": len(head)}
    model, shared = trained("ease", settings, population)
    with pytest.raises(LayoutMismatch, match="head"):
        model.check(replace(shared, arrays={**shared.arrays, "head": np.array(head, np.float32)}), population.catalogue)
