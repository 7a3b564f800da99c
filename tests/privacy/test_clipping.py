from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import LayoutMismatch
from fedpersona.privacy.clipping import clip, update_norm
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

LAYOUT = Layout((ArraySpec("vectors", (4, 3), bound=10.0), ArraySpec("counts", (4,), bound=1.0)))


def update(scale: float = 1.0) -> Update:
    rng = np.random.default_rng(3)
    return Update({"vectors": rng.normal(size=(4, 3)) * scale, "counts": np.ones(4) * scale})


def test_the_norm_takes_all_arrays_together_each_in_its_own_bound():
    found = update()
    expected = np.sqrt((found["vectors"] ** 2).sum() / 100 + 4)
    assert update_norm(found, LAYOUT) == pytest.approx(expected)


def test_a_short_update_is_left_as_it_is():
    found = update()
    again, factor = clip(found, LAYOUT, 100.0)
    assert again is found
    assert factor == 1.0


def test_a_long_update_keeps_its_direction_and_gets_the_agreed_length():
    found = update(50)
    clipped, factor = clip(found, LAYOUT, 2.0)
    assert update_norm(clipped, LAYOUT) == pytest.approx(2.0)
    assert np.allclose(clipped["vectors"], found["vectors"] * factor)
    assert np.allclose(clipped["counts"], found["counts"] * factor)


def test_nothing_stays_nothing():
    nothing = Update({"vectors": np.zeros((4, 3)), "counts": np.zeros(4)})
    assert clip(nothing, LAYOUT, 1.0)[0] is nothing


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_an_update_without_a_finite_length_is_an_error(bad):
    spoilt = update()
    spoilt.arrays["vectors"][1, 1] = bad
    with pytest.raises(LayoutMismatch, match="not finite"), np.errstate(over="ignore"):
        clip(spoilt, LAYOUT, 1.0)
