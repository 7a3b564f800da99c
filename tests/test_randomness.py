import numpy as np
import pytest

from fedpersona.randomness import generator, uniforms


def test_a_device_draws_the_same_whoever_else_draws():
    everyone = uniforms(1, "cohort", np.arange(1000), round_number=3)
    assert np.array_equal(uniforms(1, "cohort", np.array([7, 999, 7]), round_number=3), everyone[[7, 999, 7]])


def test_seed_round_and_purpose_give_independent_draws():
    devices = np.arange(20_000)
    base = uniforms(1, "cohort", devices, round_number=1)
    for other in (
        uniforms(2, "cohort", devices, round_number=1),
        uniforms(1, "cohort", devices, round_number=2),
        uniforms(1, "drop-out", devices, round_number=1),
    ):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.04  # more than five standard deviations of chance


def test_draws_are_uniform():
    draws = uniforms(5, "test", np.arange(100_000))
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    counts = np.histogram(draws, 50, (0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 110  # chi-square, 49 degrees of freedom: p < 1e-6


@pytest.mark.parametrize("change", [{"seed": 2}, {"purpose": "b"}, {"round_number": 1}, {"device": 1}])
def test_a_generator_is_keyed_by_everything(change):
    key = {"seed": 1, "purpose": "a"}
    same, again, other = generator(**key), generator(**key), generator(**{**key, **change})
    first = same.random()
    assert again.random() == first
    assert other.random() != first
