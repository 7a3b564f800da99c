import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpersona.errors import BoundExceeded, LayoutMismatch, SumOverflow
from fedpersona.privacy.fixed_point import FixedPoint, smallest_ring
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

LAYOUT = Layout((ArraySpec("x", (3,), bound=4.0),))


@given(arrays(np.float64, (5, 3), elements=st.floats(-4, 4)), st.sampled_from([32, 64]), st.permutations(range(5)))
def test_a_sum_is_the_same_in_any_order_and_close_to_the_true_one(values, ring_bits, order):
    fixed_point = FixedPoint(LAYOUT, cohort=5, ring_bits=ring_bits)
    encoded = [fixed_point.encode("x", row) for row in values]
    total = sum(encoded)
    assert np.array_equal(total, sum(encoded[i] for i in order))
    step = 1 / fixed_point.scale("x")
    assert np.abs(fixed_point.decode({"x": total})["x"] - values.sum(axis=0)).max() <= 5 * step


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("cohort", [1, 2, 3, 1000, 999_983])
@pytest.mark.parametrize("bound", [1.0, 4.0, 0.3, 1e6])
def test_the_largest_cohort_of_largest_entries_cannot_wrap_around(cohort, ring_bits, bound):
    fixed_point = FixedPoint(Layout((ArraySpec("x", (1,), bound=bound),)), cohort, ring_bits)
    for extreme in (bound, -bound):
        total = int(fixed_point.encode("x", np.array([extreme]))[0]) * cohort
        assert -(2 ** (ring_bits - 1)) < total < 2 ** (ring_bits - 1)
        decoded = fixed_point.decode({"x": np.array([total])})["x"][0]
        assert decoded == pytest.approx(extreme * cohort, rel=0.3 if ring_bits == 32 else 1e-9)


def test_a_ring_too_small_for_its_cohort_is_refused():
    with pytest.raises(SumOverflow, match="larger ring"):
        FixedPoint(LAYOUT, cohort=2**31, ring_bits=32)


@pytest.mark.parametrize("bad", [4.1, -5.0, np.inf, -np.inf, np.nan])
def test_an_entry_above_its_bound_is_refused(bad):
    with pytest.raises(BoundExceeded, match="'x'"):
        FixedPoint(LAYOUT, cohort=2, ring_bits=32).encode("x", np.array([0.0, bad, 0.0]))


def test_an_update_of_another_shape_is_refused_before_it_is_encoded():
    with pytest.raises(LayoutMismatch):
        FixedPoint(LAYOUT, cohort=2, ring_bits=32).encode_update(Update({"x": np.zeros(4)}))


def test_the_smallest_ring_keeps_sixteen_bits_an_entry():
    assert smallest_ring(1869) == 32
    assert smallest_ring(32_767) == 32
    assert smallest_ring(32_769) == 64
    assert smallest_ring(1_000_000) == 64
