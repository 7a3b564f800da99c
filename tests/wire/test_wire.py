import numpy as np
import pytest

from fedpersona.errors import ConfigError, LayoutMismatch
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

LAYOUT = Layout((ArraySpec("a", (2, 3), bound=1.0), ArraySpec("b", (4,), bound=2.0)))


def test_a_layout_counts_the_numbers_of_an_update():
    assert LAYOUT.size == 10
    assert LAYOUT["b"].bound == 2.0


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf])
def test_a_bound_that_bounds_nothing_is_refused(bound):
    with pytest.raises(LayoutMismatch, match="bound"):
        ArraySpec("a", (1,), bound=bound)


def test_a_layout_that_names_an_array_twice_is_refused():
    with pytest.raises(LayoutMismatch, match="twice"):
        Layout((ArraySpec("a", (1,), 1.0), ArraySpec("a", (2,), 1.0)))


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"a": np.zeros((2, 3))}, "asks for"),
        ({"a": np.zeros((2, 3)), "b": np.zeros(4), "history": np.zeros(1)}, "history"),
        ({"a": np.zeros((3, 2)), "b": np.zeros(4)}, "shape"),
        ({"a": np.full((2, 3), np.nan), "b": np.zeros(4)}, "not finite"),
    ],
)
def test_an_update_of_another_form_is_refused(arrays, complaint):
    with pytest.raises(LayoutMismatch, match=complaint):
        Update(arrays).check(LAYOUT)


def test_the_repr_of_an_update_shows_no_entry():
    assert "7.25" not in repr(Update({"a": np.full(3, 7.25)}))


@pytest.mark.parametrize(
    "change", [{"round_number": 0}, {"cohort": 0}, {"min_count": 0}, {"min_count": 11}, {"ring_bits": 16}]
)
def test_a_plan_out_of_range_is_refused(change):
    fine = {"model": "ease", "round_number": 1, "cohort": 10, "min_count": 2, "ring_bits": 32, "seed": 0}
    Plan(**fine)
    with pytest.raises(ConfigError):
        Plan(**{**fine, **change})
