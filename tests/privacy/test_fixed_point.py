from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpersona.errors import BoundExceeded, LayoutMismatch, SumOverflow
from fedpersona.plays import Plays
from fedpersona.privacy.fixed_point import FixedPoint, smallest_ring
from fedpersona.privacy.rounding import device_offsets, offsets
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.message import word_type
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

LAYOUT = Layout((ArraySpec("x", (3,), bound=4.0),))
PLAN = Plan(model="subspace", round_number=1, cohort=10, min_count=2, ring_bits=32, seed=0)
LAST = 1.0 - 2.0**-53
"""The largest offset."""

OFFSETS = st.integers(0, 2**53 - 1).map(lambda steps: steps * 2.0**-53)


@given(
    arrays(np.float64, (5, 3), elements=st.floats(-4, 4)),
    arrays(np.float64, (5, 1), elements=OFFSETS),
    st.sampled_from([32, 64]),
    st.permutations(range(5)),
)
def test_a_sum_is_the_same_in_any_order_and_close_to_the_true_one(values, offset, ring_bits, order):
    fixed_point = FixedPoint(LAYOUT, cohort=5, ring_bits=ring_bits)
    encoded = [fixed_point.encode("x", row, float(own[0])) for row, own in zip(values, offset, strict=True)]
    total = sum(encoded)
    assert np.array_equal(total, sum(encoded[i] for i in order))
    step = 1 / fixed_point.scale("x")
    assert np.abs(fixed_point.decode({"x": total})["x"] - values.sum(axis=0)).max() <= 5 * step
    assert np.array_equal(np.stack(encoded), fixed_point.encode("x", values, offset))


@given(st.lists(st.integers(-(2**52), 2**52), min_size=1), OFFSETS, st.integers(0, 30))
def test_rounding_is_exact_as_in_fractions(steps, offset, finer):
    """Of entries in ``finer`` parts of a step: a float64 sum of entry and offset would itself be rounded."""
    fixed_point = FixedPoint(Layout((ArraySpec("x", (1,), bound=1.0),)), cohort=1, ring_bits=64)
    values = np.array(steps) * 2.0**-finer / fixed_point.scale("x")
    expected = [floor(Fraction(step, 2**finer) + Fraction(offset)) for step in steps]
    assert fixed_point.encode("x", values, offset).tolist() == expected


@given(st.lists(st.integers(-(2**52), 2**52)), OFFSETS)
def test_whole_numbers_of_steps_stay_what_they_are_whatever_the_offset(steps, offset):
    fixed_point = FixedPoint(Layout((ArraySpec("x", (1,), bound=1.0),)), cohort=2000, ring_bits=64)
    assert fixed_point.scale("x") == 2.0**52
    steps = [0, *steps]
    assert fixed_point.encode("x", np.array(steps) / 2.0**52, offset).tolist() == steps


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("cohort", [1, 2, 3, 1000, 2048, 2**20, 999_983, 2**31 - 1])
@pytest.mark.parametrize("bound", [1.0, 4.0, 0.3, 1.5, 1e6, np.nextafter(1.0, 2.0), np.nextafter(1.0, 0.0)])
@pytest.mark.parametrize("offset", [0.0, 0.5, LAST])
def test_the_largest_cohort_of_largest_entries_cannot_wrap_around(cohort, ring_bits, bound, offset):
    fixed_point = FixedPoint(Layout((ArraySpec("x", (1,), bound=bound),)), cohort, ring_bits)
    for extreme in (bound, -bound, np.nextafter(bound, 0.0)):
        encoded = int(fixed_point.encode("x", np.array([extreme]), offset)[0])
        total = encoded * cohort
        assert -(2 ** (ring_bits - 1)) < total < 2 ** (ring_bits - 1)
        decoded = fixed_point.decode({"x": np.array([total])})["x"][0]
        assert abs(decoded - extreme * cohort) <= 1.01 * cohort / fixed_point.scale("x")


@pytest.mark.parametrize("ring_bits", [32, 64])
def test_the_step_is_the_finest_that_the_ring_and_float64_allow(ring_bits):
    for cohort in (1, 3, 100, 2048, 5000):
        limit = min((2 ** (ring_bits - 1) - 1) // cohort, 2**52)
        for bound in (1.0, 0.7, 64.0):
            scale = FixedPoint(Layout((ArraySpec("x", (1,), bound=bound),)), cohort, ring_bits).scale("x")
            assert bound * scale <= limit < 2 * bound * scale


def test_every_entry_is_right_on_average_over_the_seeds():
    """A coarse ring, so that an entry is a few steps: to the nearest, these would all be off by a part of a step."""
    layout = Layout((ArraySpec("x", (6,), bound=4.0),))
    fixed_point = FixedPoint(layout, cohort=2**28, ring_bits=32)
    values = np.array([0.1, -0.1, 1e-3, 2.6, -3.999, 0.49]) / fixed_point.scale("x")
    plays = Plays(np.array([3, 8], np.int32), np.ones(2, np.float32))
    encoded = np.stack(
        [
            fixed_point.encode("x", values, device_offsets(replace(PLAN, seed=seed), layout, plays)["x"])
            for seed in range(8000)
        ]
    )
    exact = values * fixed_point.scale("x")
    part = exact - np.floor(exact)
    standard_error = np.sqrt(part * (1 - part) / len(encoded))
    assert (np.abs(encoded.mean(axis=0) - exact) < 5 * standard_error).all()


@pytest.mark.parametrize("devices", [100, 10_000])
def test_the_error_of_a_sum_of_equal_entries_grows_with_the_root_of_the_devices(devices):
    """To the nearest, each of them would be off by 0.3 of a step the same way, and their sum by 0.3 a device."""
    fixed_point = FixedPoint(LAYOUT, cohort=10_000, ring_bits=32)
    values = np.full((devices, 1), 1000.3 / fixed_point.scale("x"))
    prints = np.random.default_rng(1).integers(0, 2**64, devices, np.uint64)
    errors = []
    for seed in range(100):
        own = offsets(replace(PLAN, seed=seed), "x", prints)[:, np.newaxis]
        errors.append(int(fixed_point.encode("x", values, own).sum()) - 1000.3 * devices)
    typical = float(np.sqrt(np.mean(np.square(errors))))
    assert typical == pytest.approx(np.sqrt(devices * 0.3 * 0.7), rel=0.35)  # five standard errors of 100 draws


def test_an_update_gives_the_same_integers_as_words_and_as_arrays_with_an_offset_for_each_array():
    layout = Layout((ArraySpec("a", (5, 3), bound=1.0), ArraySpec("b", (70_000,), bound=2.0)))
    fixed_point = FixedPoint(layout, cohort=2**20, ring_bits=32)
    rng = np.random.default_rng(0)
    update = Update({"a": rng.uniform(-1, 1, (5, 3)), "b": rng.uniform(-2, 2, 70_000)})
    arrays_of = fixed_point.encode_update(update, {"a": 0.9, "b": 0.1})
    words = fixed_point.encode_words(update, {"a": 0.9, "b": 0.1})
    flat = np.concatenate([arrays_of["a"].ravel(), arrays_of["b"]])
    assert np.array_equal(words, flat.astype(word_type(32)))
    assert np.array_equal(arrays_of["a"], fixed_point.encode("a", update["a"], 0.9))
    assert np.array_equal(arrays_of["b"], fixed_point.encode("b", update["b"], 0.1))
    assert not np.array_equal(words, fixed_point.encode_words(update, {"a": 0.1, "b": 0.9}))


def test_many_devices_at_once_are_rounded_each_with_its_own_offset_in_blocks_of_any_size():
    fixed_point = FixedPoint(LAYOUT, cohort=2**20, ring_bits=32)
    rng = np.random.default_rng(0)
    values, own = rng.uniform(-4, 4, (3001, 64)), rng.random((3001, 1))
    alone = [fixed_point.encode("x", row, float(offset[0])) for row, offset in zip(values, own, strict=True)]
    assert np.array_equal(fixed_point.encode("x", values, own), np.stack(alone))
    assert fixed_point.encode("x", values[:0], own[:0]).shape == (0, 64)
    assert fixed_point.encode("x", values[:, :0], own).shape == (3001, 0)


def test_a_ring_too_small_for_its_cohort_is_refused():
    with pytest.raises(SumOverflow, match="larger ring"):
        FixedPoint(LAYOUT, cohort=2**31, ring_bits=32)


@pytest.mark.parametrize("bad", [4.1, -5.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 1, 199_999])
def test_an_entry_above_its_bound_is_refused_wherever_it_is(bad, at):
    values = np.zeros(200_000)
    values[at] = bad
    fixed_point = FixedPoint(LAYOUT, cohort=2, ring_bits=32)
    with pytest.raises(BoundExceeded, match="'x'"):
        fixed_point.encode("x", values, 0.5)
    with pytest.raises(BoundExceeded, match="'x'"):
        fixed_point.encode_words(Update({"x": values}), {"x": 0.5}, np.zeros(200_000, word_type(32)))


@pytest.mark.parametrize("bad", [1.0, -1e-9, np.nan, np.array([[0.5], [1.5]])])
def test_an_offset_that_could_round_past_the_bound_is_refused(bad):
    with pytest.raises(SumOverflow, match="offset"):
        FixedPoint(LAYOUT, cohort=2, ring_bits=32).encode("x", np.zeros((2, 3)), bad)


def test_an_update_of_another_shape_is_refused_before_it_is_encoded():
    with pytest.raises(LayoutMismatch):
        FixedPoint(LAYOUT, cohort=2, ring_bits=32).encode_update(Update({"x": np.zeros(4)}), {"x": 0.5})


def test_the_smallest_ring_keeps_sixteen_bits_an_entry():
    assert smallest_ring(1869) == 32
    assert smallest_ring(32_767) == 32
    assert smallest_ring(32_769) == 64
    assert smallest_ring(1_000_000) == 64


def test_a_sum_is_turned_back_into_the_same_numbers_in_its_own_memory(monkeypatch):
    monkeypatch.setattr("fedpersona.privacy.fixed_point._BLOCK", 4)
    layout = Layout((ArraySpec("a", (7, 3), bound=3.0), ArraySpec("b", (2,), bound=1.0)))
    fixed_point = FixedPoint(layout, 10, 64)
    rng = np.random.default_rng(5)
    total = {spec.name: rng.integers(-(2**52), 2**52, spec.shape) for spec in layout.arrays}
    expected = fixed_point.decode(total)
    found = fixed_point.decode(total, in_place=True)
    assert all(np.array_equal(found[name], expected[name]) for name in ("a", "b"))
    assert all(np.shares_memory(found[name], total[name]) for name in ("a", "b"))
