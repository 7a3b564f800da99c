from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import ConfigError, DataError
from fedpersona.privacy.accounting import (
    BandedRelease,
    GaussianRelease,
    SampledGaussianRelease,
    event_from_record,
    event_record,
)
from fedpersona.privacy.accounting.events import unsampled_multiplier

multipliers = st.floats(0.0, 1e12)
counts = st.integers(1, 10_000)
events = st.one_of(
    st.builds(GaussianRelease, multipliers, counts),
    st.builds(SampledGaussianRelease, multipliers, counts, st.floats(1e-9, 1.0)),
    st.tuples(multipliers, counts, counts, counts).map(
        lambda given: BandedRelease(given[0], given[1], min(given[2:]), max(given[2:]))
    ),
)


@given(events)
def test_an_event_is_the_same_after_a_ledger_kept_it(event):
    assert event_from_record(json.loads(json.dumps(event_record(event)))) == event


def test_a_record_has_a_kind_and_the_numbers_by_name():
    assert event_record(BandedRelease(3.0, 500, 50, 60)) == {
        "kind": "banded",
        "noise_multiplier": 3.0,
        "rounds": 500,
        "band": 50,
        "separation": 60,
    }


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"noise_multiplier": 1.0, "count": 1},
        {"kind": "laplace", "noise_multiplier": 1.0},
        {"kind": ["gaussian"], "noise_multiplier": 1.0, "count": 1},
        {"kind": "gaussian", "noise_multiplier": 1.0},
        {"kind": "gaussian", "noise_multiplier": 1.0, "count": 1, "rate": 0.5},
        {"kind": "gaussian", "noise_multiplier": "1.0", "count": 1},
        {"kind": "gaussian", "noise_multiplier": None, "count": 1},
        {"kind": "gaussian", "noise_multiplier": -1.0, "count": 1},
        {"kind": "gaussian", "noise_multiplier": math.inf, "count": 1},
        {"kind": "gaussian", "noise_multiplier": True, "count": 1},
        {"kind": "gaussian", "noise_multiplier": 1.0, "count": 1.0},
        {"kind": "gaussian", "noise_multiplier": 1.0, "count": True},
        {"kind": "gaussian", "noise_multiplier": 1.0, "count": 0},
        {"kind": "gaussian", "noise_multiplier": 1.0, "count": -3},
        {"kind": "sampled-gaussian", "noise_multiplier": 1.0, "count": 1, "rate": 0.0},
        {"kind": "sampled-gaussian", "noise_multiplier": 1.0, "count": 1, "rate": 1.5},
        {"kind": "banded", "noise_multiplier": 1.0, "rounds": 5, "band": 3, "separation": 2},
    ],
)
def test_a_record_that_does_not_hold_is_refused(record):
    with pytest.raises(DataError):
        event_from_record(record)


@pytest.mark.parametrize(
    "build",
    [
        lambda: GaussianRelease(math.nan),
        lambda: GaussianRelease(1.0, 0),
        lambda: SampledGaussianRelease(1.0, 1, math.nan),
        lambda: BandedRelease(1.0, 0, 1, 1),
        lambda: BandedRelease(1.0, 10, 4, 3),
    ],
)
def test_an_event_that_cannot_be_is_not_built(build):
    with pytest.raises(ConfigError):
        build()


def test_a_band_of_one_is_independent_noise():
    assert unsampled_multiplier(BandedRelease(7.0, 100, 1, 10)) == pytest.approx(
        unsampled_multiplier(GaussianRelease(7.0, 10))
    )


def test_a_last_round_out_of_step_is_counted():
    assert unsampled_multiplier(BandedRelease(7.0, 101, 1, 10)) == pytest.approx(
        unsampled_multiplier(GaussianRelease(7.0, 11))
    )
