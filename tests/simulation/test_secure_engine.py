"""The sum that the protocol opens is the sum that the fast engines take, to the bit."""

from __future__ import annotations

import pytest

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.errors import CohortTooSmall, ConfigError, DevicesLeft
from fedpersona.privacy.secagg import Parameters
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.collecting import how_secure
from fedpersona.simulation.engine import CohortEngine
from fedpersona.simulation.secure_engine import SecureEngine
from fedpersona.taste import create
from tests.conftest import invent

PEOPLE = 40
VARIANTS = [
    ("popularity", {}),
    ("subspace", {"dim": 4, "rounds": 2}),
    ("ease", {"head": 9}),
    ("ials", {"dim": 3, "rounds": 2}),
]


def learned(engine, population, model, **settings):
    coordinator = Coordinator(
        model, population.catalogue, engine, cohort=PEOPLE, min_count=settings.pop("least", 10), seed=3, **settings
    )
    reports = list(coordinator.run())
    return coordinator.shared.hash(), [report.answered for report in reports]


@pytest.mark.parametrize("masks", [Parameters(), Parameters(neighbours=12, threshold=8)], ids=["complete", "sparse"])
@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_the_protocol_gives_the_model_of_the_fast_engine_to_the_bit(name, settings, ring_bits, masks):
    population, model, behaviour = invent(people=PEOPLE), create(name, settings), Behaviour(dropout=0.1)
    protocol = learned(
        SecureEngine(model, population, behaviour), population, model, ring_bits=ring_bits, masked=True, masks=masks
    )
    assert protocol == learned(CohortEngine(model, population, behaviour), population, model, ring_bits=ring_bits)
    assert min(protocol[1]) < PEOPLE, "devices dropped out"


def test_more_drop_outs_than_the_threshold_allows_end_the_round_by_name():
    population, model = invent(people=PEOPLE), create("popularity", {})
    with pytest.raises(DevicesLeft, match="nothing was released"):
        learned(SecureEngine(model, population, Behaviour(dropout=0.6)), population, model, least=5, masked=True)


def test_fewer_than_the_agreed_minimum_end_the_round_by_name():
    population, model = invent(people=PEOPLE), create("popularity", {})
    with pytest.raises(CohortTooSmall):
        learned(SecureEngine(model, population, Behaviour(dropout=0.2)), population, model, least=39, masked=True)


def test_progress_reaches_the_number_of_devices():
    seen = []
    population, model = invent(people=PEOPLE), create("popularity", {})
    learned(SecureEngine(model, population, Behaviour(), lambda *one: seen.append(one)), population, model, masked=True)
    assert seen[-1] == (PEOPLE, PEOPLE)


@pytest.mark.parametrize(("dropout", "words"), [(0.05, "the same to the bit"), (0.5, "hardly any sum of 2,000")])
def test_of_large_cohorts_it_is_said_what_stands_in_for_the_protocol_and_where_that_would_fail(dropout, words):
    if dropout < 0.1:
        assert words in how_secure(2000, Parameters(), dropout)
    else:
        with pytest.raises(ConfigError, match=words):
            how_secure(2000, Parameters(), dropout)
