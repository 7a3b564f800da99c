"""Offsets of rounding: the same for one device and for many, keyed by history and plan, and uniform."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from fedpersona.plays import Plays
from fedpersona.privacy.rounding import device_offsets, offsets
from fedpersona.randomness import fingerprints
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan

ITEMS = 50
LAYOUT = Layout((ArraySpec("sketch", (ITEMS, 4), bound=1.0), ArraySpec("listeners", (ITEMS,), bound=1.0)))
PLAN = Plan(model="subspace", round_number=3, cohort=10, min_count=2, ring_bits=32, seed=7)

HISTORIES = st.lists(st.sets(st.integers(0, ITEMS - 1), max_size=6), max_size=8)


def plays_of(items) -> Plays:
    rows = np.array(sorted(items), np.int32)
    return Plays(rows, np.ones(len(rows), np.float32))


def matrix_of(histories) -> csr_array:
    indptr = np.cumsum([0, *(len(items) for items in histories)])
    indices = np.array([item for items in histories for item in sorted(items)], np.int32)
    return csr_array((np.ones(len(indices)), indices, indptr), shape=(len(histories), ITEMS))


def many(histories, name="sketch", plan=PLAN):
    plays = matrix_of(histories)
    return offsets(plan, name, fingerprints(plays.indices, plays.indptr, ITEMS))


def random_histories(count: int) -> list[list[int]]:
    return np.random.default_rng(0).permuted(np.tile(np.arange(ITEMS), (count, 1)), axis=1)[:, :8].tolist()


@given(HISTORIES, st.integers(0, 2**63 - 1), st.integers(1, 1000))
def test_many_devices_at_once_have_the_offsets_that_each_has_alone(histories, seed, round_number):
    plan = replace(PLAN, seed=seed, round_number=round_number)
    for name in LAYOUT.names:
        alone = [device_offsets(plan, LAYOUT, plays_of(items))[name] for items in histories]
        assert many(histories, name, plan).tolist() == alone


@pytest.mark.parametrize(
    "histories",
    [[], [set()], [set(), {3}], [{3}, set()], [{3}, set(), set(), {3, 4}], [set(), set(), {1, 2}, set(), {4}, set()]],
)
def test_who_played_nothing_borrows_no_item_of_a_neighbour(histories):
    plays = matrix_of(histories)
    prints = fingerprints(plays.indices, plays.indptr, ITEMS)
    assert (prints == 0).tolist() == [not items for items in histories]
    assert many(histories).tolist() == [device_offsets(PLAN, LAYOUT, plays_of(one))["sketch"] for one in histories]


def test_the_offset_is_what_the_formula_in_whole_numbers_gives():
    """SplitMix64 again, in Python's integers: no dtype can have changed what is computed."""
    everything = 2**64

    def mix(state: int) -> int:
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % everything
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % everything
        return state ^ (state >> 31)

    golden = 0x9E3779B97F4A7C15
    key = int.from_bytes(hashlib.blake2b(b"7/3/rounding/sketch", digest_size=8).digest(), "little")
    for items in ({0}, {4, 9, 49}, set()):
        fingerprint = sum(mix((item + 1) * golden % everything) for item in items) % everything
        expected = (mix((mix(fingerprint ^ key) + golden) % everything) >> 11) / 2**53
        assert device_offsets(PLAN, LAYOUT, plays_of(items))["sketch"] == expected
    assert mix(golden) == 0xE220A8397B1DCDAF  # the first number of SplitMix64 from the state 0


@pytest.mark.parametrize("change", [{"seed": 8}, {"round_number": 4}], ids=["another seed", "another round"])
def test_an_offset_is_keyed_by_the_plan(change):
    plays = plays_of({1, 5})
    assert device_offsets(replace(PLAN, **change), LAYOUT, plays) != device_offsets(PLAN, LAYOUT, plays)


def test_an_offset_is_keyed_by_the_array_and_by_each_item():
    found = device_offsets(PLAN, LAYOUT, plays_of({1, 5}))
    assert found["sketch"] != found["listeners"]
    others = [device_offsets(PLAN, LAYOUT, plays_of(items))["sketch"] for items in ({1}, {5}, {1, 6}, {1, 5, 6}, {6})]
    assert len({found["sketch"], *others}) == 6


def test_how_often_and_when_items_were_played_changes_no_offset():
    items = np.array([1, 5], np.int32)
    often = Plays(items, np.array([9, 2], np.float32), np.array([1_700_000_000, 1_700_000_001]))
    assert device_offsets(PLAN, LAYOUT, often) == device_offsets(PLAN, LAYOUT, plays_of({1, 5}))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_the_order_and_the_type_of_items_change_no_fingerprint(dtype):
    forwards = fingerprints(np.array([1, 5, 9], dtype), np.array([0, 3], dtype), ITEMS)
    backwards = fingerprints(np.array([9, 5, 1], dtype), np.array([0, 3], dtype), ITEMS)
    assert forwards == backwards == fingerprints(np.array([1, 5, 9]), np.array([0, 3]), 1000 * ITEMS)


def test_offsets_are_uniform_over_devices_and_over_seeds():
    over_devices = many(random_histories(20_000))
    over_seeds = [device_offsets(replace(PLAN, seed=seed), LAYOUT, plays_of({1, 5}))["sketch"] for seed in range(5000)]
    for drawn in (over_devices, np.array(over_seeds)):
        assert drawn.min() >= 0.0
        assert drawn.max() < 1.0
        expected = len(drawn) / 50
        counts = np.histogram(drawn, 50, (0, 1))[0]
        assert ((counts - expected) ** 2 / expected).sum() < 110  # chi-square, 49 degrees of freedom: p < 1e-6


def test_arrays_and_rounds_of_one_device_are_rounded_independently():
    histories = random_histories(20_000)
    base = many(histories)
    for other in (many(histories, "listeners"), many(histories, plan=replace(PLAN, round_number=4))):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.04  # more than five standard deviations of chance


def test_a_device_rounds_without_scipy():
    program = "import sys, fedpersona.privacy.rounding, fedpersona.privacy.fixed_point; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
