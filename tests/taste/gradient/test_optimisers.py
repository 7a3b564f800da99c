"""Server optimisers, against the steps of algorithm 2 of Reddi et al. 2021, done by hand."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from fedpersona.taste.gradient import optimisers
from fedpersona.taste.gradient.optimisers import ServerOptimiser

MEANS = (0.5, -0.25, 2.0)


def steps(optimiser, start=1.0):
    """Return an entry after each of three rounds."""
    array, kept, found = np.array([start]), {}, []
    for mean in MEANS:
        array, kept = optimiser.step("items", array, np.array([mean]), 1, kept)
        found.append(float(array[0]))
    return found


def by_hand(name, lr, beta1, beta2, tau, start=1.0):
    value, first, second, found = start, 0.0, tau**2, []
    for mean in MEANS:
        first = beta1 * first + (1 - beta1) * mean
        if name == "adam":
            second = beta2 * second + (1 - beta2) * mean**2
        else:
            sign = (second > mean**2) - (second < mean**2)
            second = second - (1 - beta2) * mean**2 * sign
        value = value + lr * first / (sqrt(second) + tau)
        found.append(value)
    return found


def test_sgd_adds_the_mean_update_and_keeps_nothing():
    assert steps(ServerOptimiser(lr=2.0)) == [2.0, 1.5, 5.5]
    assert ServerOptimiser().step("items", np.ones(2), np.ones(2), 1, {})[1] == {}


def test_momentum_adds_what_is_left_of_the_steps_before():
    # v = 0.5, then 0.9 · 0.5 - 0.25 = 0.2, then 0.9 · 0.2 + 2 = 2.18 (Hsu et al. 2019, equation 2)
    assert steps(ServerOptimiser(name="momentum", lr=1.0, beta1=0.9)) == pytest.approx([1.5, 1.7, 3.88])


@pytest.mark.parametrize("name", ["adam", "yogi"])
@pytest.mark.parametrize("settings", [(0.1, 0.9, 0.99, 1e-3), (0.01, 0.0, 0.5, 0.1)])
def test_adam_and_yogi_take_the_steps_of_the_paper(name, settings):
    lr, beta1, beta2, tau = settings
    optimiser = ServerOptimiser(name=name, lr=lr, beta1=beta1, beta2=beta2, tau=tau)
    assert steps(optimiser) == pytest.approx(by_hand(name, *settings), rel=1e-12)


def test_the_first_step_of_adam_by_numbers():
    # m = 0.1 · 0.5; v = 0.99 · 1e-6 + 0.01 · 0.25; step = 0.1 · 0.05 / (√0.00250099 + 0.001)
    first = steps(ServerOptimiser(name="adam", lr=0.1))[0]
    assert first == pytest.approx(1.0 + 0.1 * 0.05 / (0.0500099 + 0.001), rel=1e-6)


def test_moments_of_one_array_are_not_those_of_another():
    optimiser = ServerOptimiser(name="adam")
    _, kept = optimiser.step("items", np.zeros(2), np.ones(2), 1, {})
    alone = optimiser.step("bias", np.zeros(2), np.ones(2), 1, {})[0]
    beside = optimiser.step("bias", np.zeros(2), np.ones(2), 1, kept)[0]
    assert np.array_equal(alone, beside)
    assert set(kept) == {"items.first", "items.second"}


def test_what_no_device_moved_stays_where_it_is():
    for name in ("sgd", "momentum", "adam", "yogi"):
        found, _ = ServerOptimiser(name=name).step("items", np.full(3, 2.5), np.zeros(3), 1, {})
        assert np.array_equal(found, np.full(3, 2.5))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "yogi"])
def test_blocks_change_nothing_and_the_sum_is_divided_by_its_devices(name, monkeypatch):
    rng = np.random.default_rng(4)
    array, optimiser = rng.normal(size=(7, 5)).astype(np.float32), ServerOptimiser(name=name)
    found = {}
    for block in (1 << 15, 4):
        monkeypatch.setattr(optimisers, "_BLOCK", block)
        after, kept = array, {}
        for step in range(3):
            after, kept = optimiser.step("items", after, np.full((7, 5), 4.0 * step), 4, kept)
        found[block] = (after, kept)
    alone = optimiser.step("items", array, np.full((7, 5), 8.0), 4, {})[0]
    assert np.array_equal(alone, optimiser.step("items", array, np.full((7, 5), 2.0), 1, {})[0])
    assert np.array_equal(found[4][0], found[1 << 15][0])
    assert all(np.array_equal(found[4][1][key], value) for key, value in found[1 << 15][1].items())
