"""What the demo concludes from what it found, and the figures it gives."""

import numpy as np
import pytest

from fedpersona.device import starter
from fedpersona.privacy.secagg import Parameters
from fedpersona.simulation.demo.accuracy import accuracy
from fedpersona.simulation.demo.canary import Finding, Report
from fedpersona.simulation.demo.federation import CAST, Outcome
from fedpersona.simulation.demo.people import invent
from fedpersona.simulation.demo.run import DemoResult
from fedpersona.taste import Subspace

PEOPLE = invent(starter.catalogue(), 16, seed=0, now=1_750_000_000.0)


def figures(ranks):
    return accuracy(PEOPLE, ranks, starter.catalogue(), Subspace(dim=16, rounds=2), seed=0)


def result(report, rehearsed=(74, 74)):
    return DemoResult(Outcome(), figures([0] * 16), report, rehearsed, {}, [], 60.0)


def test_traffic_without_a_finding_is_clean():
    assert result(Report(bytes_up=1000)).clean


@pytest.mark.parametrize(
    ("report", "rehearsed"),
    [
        (Report(bytes_up=1000, findings=[Finding("a name", "hex", "> POST /v1/enrol", False)]), (74, 74)),
        (Report(bytes_up=1000), (73, 74)),
        (Report(bytes_up=0, bytes_down=1000), (74, 74)),
    ],
    ids=["something was found", "the search does not find all it should", "nothing was recorded"],
)
def test_anything_else_is_not(report, rehearsed):
    assert not result(report, rehearsed).clean
    assert not result(report, rehearsed).summary()["canary"]["clean"]


def test_the_figure_is_the_mean_over_the_ranks_that_devices_told():
    found = figures([0, 1, 10] + [500] * 13)
    assert found.model == pytest.approx((1 + 1 / np.log2(3)) / 16)
    assert found.found == 2
    assert found.interval[0] < found.model < found.interval[1]


def test_floor_and_ceiling_do_not_hang_on_what_the_federation_learned():
    good, bad = figures([0] * 16), figures([900] * 16)
    assert (good.floor, good.ceiling) == (bad.floor, bad.ceiling)
    assert bad.model == 0.0 < bad.ceiling


def test_the_cast_fits_the_rounds():
    parts = (*CAST.without_consent, *CAST.may_drop_out, *CAST.may_be_revoked)
    assert len(set(parts)) == len(parts)
    assert CAST.cohort == CAST.people - len(CAST.without_consent)
    for there in (CAST.cohort, CAST.cohort - 1):  # each others' neighbours; one of them leaves in each round
        assert Parameters().needed(there - 1) <= there - 2, "one may leave"
    assert CAST.least <= CAST.summed
