from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.errors import PlanRefused
from fedpersona.wire.plan import Plan

PLAN = Plan(
    "subspace", 2, 100, 50, 32, 7, "spring", "ab" * 32, "cd" * 32, (("dim", 64), ("recency", None)), 32.0, masked=True
)


def test_a_plan_comes_back_from_the_wire_as_it_was():
    assert Plan.decode(PLAN.encode()) == PLAN
    assert Plan.decode(PLAN.encode()).hash() == PLAN.hash()


def test_two_plans_that_differ_anywhere_have_different_hashes():
    for change in ({"min_count": 51}, {"neighbours": 4}, {"threshold": 77}, {"masked": False}, {"metrics": True}):
        changed = json.loads(PLAN.encode()) | change
        assert Plan.decode(json.dumps(changed).encode()).hash() != PLAN.hash()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cohort", 0),
        ("cohort", 10.0),
        ("cohort", True),
        ("min_count", 101),
        ("ring_bits", 31),
        ("model", None),
        ("clip", -1.0),
        ("clip", float("nan")),
        ("epsilon", float("inf")),
        ("settings", {"dim": 64}),
        ("settings", [["dim", [64]]]),
        ("settings", [["dim"]]),
        ("masked", 1),
        ("neighbours", -1),
        ("neighbours", 80.0),
        ("neighbours", None),
        ("threshold", -1),
        ("threshold", True),
        ("metrics", 1),
        ("program", "print(1)"),
    ],
)
def test_a_plan_with_a_field_that_no_plan_has_is_refused(field, value):
    found = json.loads(PLAN.encode()) | {field: value}
    with pytest.raises(PlanRefused):
        Plan.decode(json.dumps(found).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 60_000, b"x" * 70_000])
def test_bytes_that_are_no_plan_are_refused_with_one_sentence(data):
    with pytest.raises(PlanRefused, match="the server's plan"):
        Plan.decode(data)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(PlanRefused):
        Plan.decode(data)


@pytest.mark.parametrize(
    "name",
    ["clip", "epsilon", "round_number", "cohort", "seed", "serial", "issued", "expires", "neighbours", "threshold"],
)
def test_a_number_without_end_is_no_plan(name):
    import json

    found = json.loads(Plan("subspace", 1, 10, 5, 32, 0).encode()) | {name: 10**400}
    with pytest.raises(PlanRefused):
        Plan.decode(json.dumps(found).encode())


NOISY = Plan("ease", 1, 100, 50, 32, 7, clip=1.0, noise="central", noise_multiplier=2.0, epsilon=4.0, delta=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"noise": None},
        {"noise": "nobody"},
        {"noise": ""},
        {"clip": None},
        {"separation": 0},
        *(
            {name: value}
            for name in ("noise_multiplier", "epsilon", "delta")
            for value in (None, 0, -1.0, "1", 10**400)
        ),
        {"delta": 1},
        {"delta": 2.0},
    ],
)
def test_noise_is_promised_wholly_or_not_at_all(change):
    assert Plan.decode(NOISY.encode()) == NOISY
    with pytest.raises(PlanRefused):
        Plan.decode(json.dumps(json.loads(NOISY.encode()) | change).encode())
