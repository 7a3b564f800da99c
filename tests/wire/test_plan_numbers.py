"""A plan whose numbers JSON has no word for is refused: it has no hash either."""

from __future__ import annotations

import pytest

from fedpersona.errors import PlanRefused
from fedpersona.wire.plan import Plan


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("place", ["settings", "clip"])
def test_numbers_that_are_none_are_refused(number, place):
    plan = Plan("subspace", 1, 60, 50, 32, 0, settings=(("alpha", 0.5),), clip=0.25).encode()
    Plan.decode(plan)
    spoilt = plan.replace(b"0.5" if place == "settings" else b"0.25", number.encode())
    assert spoilt != plan
    with pytest.raises(PlanRefused):
        Plan.decode(spoilt)
