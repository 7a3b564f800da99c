"""What the server adds to a sum: whole numbers to whole numbers, exactly, however large they are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fedpersona.privacy import mechanism
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import released
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan

LAYOUT = Layout((ArraySpec("x", (2000,), bound=1.0, unit=5.0), ArraySpec("n", (1,), bound=1.0, public=True)), 1.0)


def planned(*, cohort: int, deviation: float, ring_bits: int = 64) -> Plan:
    terms = {"clip": 1.0, "noise": "central", "noise_multiplier": deviation, "epsilon": 1.0, "delta": 1e-6}
    return Plan("popularity", 1, cohort=cohort, min_count=50, ring_bits=ring_bits, seed=0, **terms)


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("cohort", [50, 32_768, 1_000_000])
@pytest.mark.parametrize("deviation", [1e-6, 0.7, 10.0, 1e4, 1e9])
def test_no_bit_of_a_sum_or_of_its_noise_is_rounded_away(monkeypatch, cohort, deviation, ring_bits):
    """Float64 gives two large numbers other last bits than two small ones: an odd result would tell the noise."""
    plan = planned(cohort=cohort, deviation=deviation, ring_bits=ring_bits)
    fixed_point = FixedPoint.for_plan(plan, LAYOUT)
    rng, scale = np.random.default_rng(1), fixed_point.scale("x")
    most, longest = int(cohort * scale), int(13.25 * 5.0 * deviation * scale)
    steps = rng.integers(-longest, longest, 2000, endpoint=True)
    steps[:2] = [-longest, longest]
    total = rng.integers(-most, most, 2000, endpoint=True)
    total[:2] = [-most, most]
    monkeypatch.setattr(mechanism, "gaussian_integers", lambda size, deviation: steps)
    noisy = released(fixed_point.decode({"x": total, "n": np.ones(1, np.int64)}), plan, fixed_point)
    found = [Fraction(value) * int(scale) for value in noisy["x"].tolist()]
    assert found == [a + b for a, b in zip(total.tolist(), steps.tolist(), strict=True)]


def test_last_bits_do_not_tell_how_large_a_sum_was():
    """Counters of a cohort that takes the larger ring: 40 and 100 of them, each seen as about none."""
    plan = planned(cohort=40_000, deviation=10.0)
    fixed_point = FixedPoint.for_plan(plan, LAYOUT)
    scale = fixed_point.scale("x")
    for count in (40, 100):
        odd = []
        for _ in range(20):
            total = {"x": np.full(2000, count * int(scale), np.int64), "n": np.ones(1, np.int64)}
            noisy = released(fixed_point.decode(total), plan, fixed_point)["x"]
            odd += (noisy[np.abs(noisy) < 8] * scale % 2).tolist()
        assert 0.35 < np.mean(odd) < 0.65


def test_noise_as_large_as_a_model_can_have_can_be_drawn():
    """It is drawn once the budget has paid for it: an error then would lose what was paid for."""
    plan = planned(cohort=32_768, deviation=1e9)
    fixed_point = FixedPoint.for_plan(plan, LAYOUT)
    total = {"x": np.zeros(2000, np.int64), "n": np.ones(1, np.int64)}
    assert np.std(released(fixed_point.decode(total), plan, fixed_point)["x"]) == pytest.approx(5e9, rel=0.1)
