"""Devices that leave, at each of the five exchanges: an exact sum down to t of k neighbours, below it nothing."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

import numpy as np
import pytest

from fedpersona.errors import CohortTooSmall, DevicesLeft, RoundFailed
from fedpersona.privacy.secagg import Parameters
from fedpersona.privacy.secagg.keys import self_seed
from fedpersona.privacy.secagg.masks import add_masks
from fedpersona.privacy.secagg.shamir import recover
from tests.privacy.secagg.rounds import COMPLETE, EXCHANGES, Round, after
from tests.privacy.secagg.statistic import looks_uniform

SIZE, PARAMETERS = COMPLETE
T = PARAMETERS.threshold
WORDS = 2000
LOOSE = (40, Parameters(12, 7))

exchanges = pytest.mark.parametrize("exchange", EXCHANGES)
BEFORE = dict(zip(EXCHANGES[1:], EXCHANGES, strict=False))


def begun(exchange: str, graph=COMPLETE, words: int = WORDS) -> Round:
    """A round that an exchange is about to begin in."""
    return Round(*graph, words=words) if exchange == "enter" else after(BEFORE[exchange], graph, words)


def best_guess(round_: Round) -> np.ndarray:
    """What a server has that takes off every mask that it got enough shares for."""
    total = round_.server._total.copy()
    for place, shares in round_.server._shares.items():
        if place in round_.summed and len(shares) >= round_.needed(place):
            b = recover(dict(list(shares.items())[: round_.needed(place)]))
            add_masks(total, subtracted=[self_seed(b, round_.server._roster)])
    return total


def reveals_nothing(round_: Round) -> bool:
    """The sum is still masked, by what nobody has; so is the sum of any part of the devices, and each vector."""
    sums = [round_.sum_of(round_.sent), *(person.plain for person in round_.people)]
    left = [round_.server._total, best_guess(round_), *round_.sent.values()]
    return all(looks_uniform(one - other) for one in left for other in sums)


@exchanges
@pytest.mark.parametrize("count", [0, 1])
def test_the_sum_is_exact_where_nobody_leaves_or_one(exchange, count):
    round_ = begun(exchange)
    assert np.array_equal(round_.run_from(exchange, {exchange: set(range(3, 3 + count))}), round_.truth())
    assert round_.server.count == SIZE - count * (exchange in ("enter", "share", "train"))
    assert round_.nobody_gave_both()
    assert not round_.server.faulty
    assert not round_.refusals


@exchanges
@pytest.mark.parametrize("alive", [T, T + 1])
def test_the_sum_is_exact_down_to_t_neighbours_of_everybody(exchange, alive):
    """Of k = 8; whoever stays has one neighbour fewer than there are."""
    round_ = begun(exchange)
    assert np.array_equal(round_.run_from(exchange, {exchange: set(range(alive + 1, SIZE))}), round_.truth())
    assert round_.server.count == (SIZE if exchange in ("agree", "unmask") else alive + 1)
    assert round_.nobody_gave_both()


@pytest.mark.parametrize(
    ("exchange", "failure"),
    [("share", CohortTooSmall), ("train", DevicesLeft), ("agree", DevicesLeft), ("unmask", DevicesLeft)],
)
def test_with_fewer_than_t_neighbours_the_round_fails_by_name_reveals_nothing_and_the_next_begins(exchange, failure):
    round_ = begun(exchange)
    with pytest.raises(failure, match="round 1:"):
        round_.run_from(exchange, {exchange: range(T, SIZE)})  # leaves t devices, with t - 1 neighbours each
    assert not round_.sent if exchange == "share" else reveals_nothing(round_)
    assert not round_.handed or exchange == "unmask"  # nobody is asked for shares in vain
    assert round_.nobody_gave_both()
    assert not round_.server.faulty
    again = Round(*COMPLETE, seed=2, plan="cd" * 32)
    assert np.array_equal(again.run(), again.truth())


def test_a_device_that_entered_and_never_shared_costs_nothing_however_many_they_are():
    """t is of the neighbours in the roster; of those that enter no more than the least number is needed."""
    for entered in range(3, SIZE):
        round_ = begun("enter", words=8)
        assert np.array_equal(round_.run_from("enter", {"enter": set(range(entered, SIZE))}), round_.truth())
        assert round_.server.count == entered


@pytest.mark.parametrize("entered", [0, 1, 2])
def test_two_that_enter_are_too_few(entered):
    with pytest.raises(CohortTooSmall):
        Round(*COMPLETE).run({"enter": range(entered, SIZE)})


@pytest.mark.parametrize("exchange", ["enter", "share", "train"])
def test_the_sum_is_of_as_many_as_the_plan_says_or_there_is_none(exchange):
    for gone, failure in ((1, False), (2, True)):
        round_ = Round(*COMPLETE, least=SIZE - 1)
        if failure:
            with pytest.raises(CohortTooSmall, match=f"{SIZE - 2} devices answered, the agreed minimum is {SIZE - 1}"):
                round_.run({exchange: range(gone)})
        else:
            assert np.array_equal(round_.run({exchange: range(gone)}), round_.truth())


# -- a graph in which not everybody is a neighbour: what counts is the neighbourhood --


def thinned(round_: Round, alive: int) -> tuple[int, set[int]]:
    """Find a device and neighbours of it that leave it just so many, and nobody else too few."""
    everybody = range(len(round_.people))
    for victim in everybody:
        others = round_.neighbours(victim)
        for gone in combinations(others, len(others) - (round_.needed(victim) + alive)):
            there = set(everybody) - set(gone)
            if all(
                len(there & set(round_.neighbours(other))) >= round_.needed(other)
                for other in everybody
                if other != victim
            ):
                return victim, set(gone)
    raise AssertionError("no such neighbourhood")


@pytest.mark.parametrize("exchange", EXCHANGES[1:])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_what_counts_are_the_neighbours_of_each_device(exchange, beyond):
    """One device among forty is left with t - 1, t or t + 1 neighbours."""
    round_ = begun(exchange, LOOSE, 8)
    victim, gone = thinned(round_, beyond)
    if beyond < 0 and exchange != "share":
        with pytest.raises(DevicesLeft, match="the masks of 1 of"):
            round_.run_from(exchange, {exchange: gone})
    else:
        assert np.array_equal(round_.run_from(exchange, {exchange: gone}), round_.truth())
        # A device whose shares too few hold is not asked for a vector.
        assert (victim in round_.summed) == (beyond >= 0)
    assert round_.nobody_gave_both()


@pytest.mark.parametrize("exchange", ["train", "agree", "unmask"])
@pytest.mark.parametrize("alive", [T - 1, T])
def test_the_server_knows_before_it_closes_an_exchange_whether_the_sum_can_be_opened(exchange, alive):
    round_ = begun(exchange, words=8)
    ask = {"train": "recoverable", "agree": "agreeable", "unmask": "openable"}[exchange]
    assert not getattr(round_.server, ask)()
    for answering in range(alive + 1):  # one after another, each the only one that answers
        others = set(range(SIZE)) - {answering}
        present = round_.present.copy()
        with suppress(RoundFailed):
            getattr(round_, exchange)(others)
        round_.present = present
        enough = answering + 1 > T
        assert getattr(round_.server, ask)() == enough
