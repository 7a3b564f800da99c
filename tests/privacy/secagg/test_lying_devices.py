"""Devices that spoil a round on purpose: the sum is exact, or there is none; and who did it is named.

A device can always lie about its own update: only its bound limits what that does, one level up.
"""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import DevicesLeft, ParcelRefused, RoundFailed, SumSpoilt
from fedpersona.privacy.secagg import Parameters
from tests.privacy.secagg.liars import SHARES_LIES, SIGNATURE_LIES, lying, truth_dealt
from tests.privacy.secagg.rounds import COMPLETE, Round, after
from tests.privacy.secagg.statistic import looks_uniform

LIAR = 4
WIDE = (13, Parameters(12, 7))
"""Twelve neighbours, seven recover: two wrong shares of nine, or five that are known to be wrong, do not matter."""


def told(message: str, lie: str, *liars: int, graph=COMPLETE, words: int = 8) -> Round:
    """A round in which some devices are about to lie."""
    before = {"sealed": "enter", "signature": "train", "shares": "agree"}[message]
    round_ = after(before, graph, words)
    round_.tamper = lying(round_, {(message, liar): lie for liar in liars})
    return round_


# -- sealed shares --


@pytest.mark.parametrize("lie", ["too short", "too long", "nothing"])
def test_sealed_shares_of_another_form_leave_their_device_out(lie):
    round_ = told("sealed", lie, LIAR)
    assert np.array_equal(round_.run_from("share"), round_.truth())
    assert LIAR not in round_.summed
    assert isinstance(round_.refusals[LIAR], ParcelRefused)


@pytest.mark.parametrize("leaves", [False, True])
def test_shares_that_do_not_open_end_the_round_and_who_sealed_them_is_suspected(leaves):
    """Nobody can take this device's masks off, whether it stays or leaves."""
    round_ = told("sealed", "undecryptable", LIAR, words=2000)
    with pytest.raises(SumSpoilt, match="the secrets of 1 devices are missing"):
        round_.run_from("share", {"train": {LIAR}} if leaves else {})
    assert (round_.server.suspected, round_.server.faulty) == ({LIAR}, set())
    assert looks_uniform(round_.server._total - round_.truth())
    assert round_.nobody_gave_both()


def test_shares_that_do_not_open_for_a_few_do_not_matter():
    round_ = told("sealed", "undecryptable to one", LIAR)
    assert np.array_equal(round_.run_from("share"), round_.truth())
    assert LIAR in round_.summed
    assert round_.given_out(LIAR, "b") == 7


@pytest.mark.parametrize("lie", ["on no polynomial", "another b", "another commitment"])
def test_shares_of_what_was_not_committed_to_spoil_the_sum_and_who_dealt_them_is_suspected(lie):
    round_ = told("sealed", lie, LIAR, words=2000)
    with pytest.raises(SumSpoilt, match="the secrets of 1 devices do not fit"):
        round_.run_from("share")
    assert (round_.server.suspected, round_.server.faulty) == ({LIAR}, set())
    assert looks_uniform(round_.server._total - round_.truth())


@pytest.mark.parametrize("lie", ["on no polynomial", "another s"])
def test_shares_of_another_key_than_was_shown_spoil_the_sum_where_their_device_leaves(lie):
    round_ = told("sealed", lie, LIAR, words=2000)
    with pytest.raises(SumSpoilt, match="the secrets of 1 devices do not fit"):
        round_.run_from("share", {"train": {LIAR}})
    assert (round_.server.suspected, round_.server.faulty) == ({LIAR}, set())
    assert looks_uniform(round_.server._total - round_.truth())


@pytest.mark.parametrize(("lie", "leaves"), [("another s", False), ("another b", True), ("another commitment", True)])
def test_a_wrong_secret_that_nobody_needs_does_not_matter(lie, leaves):
    round_ = told("sealed", lie, LIAR)
    assert np.array_equal(round_.run_from("share", {"train": {LIAR}} if leaves else {}), round_.truth())
    assert not round_.server.faulty


def test_a_device_cannot_have_honest_ones_blamed_by_dealing_some_of_them_wrong_shares():
    """They answer what they got. Of a wrong share either may be to blame: it is the one with more of them."""
    round_ = after("enter", WIDE)
    framed = (0, 1)

    def tamper(name: str, place: int, message: bytes) -> bytes:
        return truth_dealt(round_, place, spoil=framed) if (name, place) == ("sealed", LIAR) else message

    round_.tamper = tamper
    assert np.array_equal(round_.run_from("share"), round_.truth())
    assert round_.server.faulty == {LIAR}


def test_where_it_cannot_be_told_who_of_two_lied_both_are_named():
    round_ = told("sealed", "wrong to one", LIAR, graph=WIDE)
    assert np.array_equal(round_.run_from("share"), round_.truth())
    assert round_.server.faulty == {0, LIAR}


# -- vectors --


@pytest.mark.parametrize("words", [np.zeros(7, "<u4"), np.zeros(1, "<u4"), np.zeros(9, "<u4"), np.zeros(8, "<u8")])
def test_a_vector_of_another_form_is_refused_and_leaves_the_sum_as_it_is(words):
    """Of one word: numpy would add it to every entry."""
    round_ = after("share")
    with pytest.raises(ParcelRefused, match="another form"):
        round_.server.take_vector(LIAR, words)
    assert not round_.server._total.any()
    assert np.array_equal(round_.run_from("train"), round_.truth())


def test_a_second_vector_is_refused():
    round_ = Round(*COMPLETE)
    round_.run(until="share")
    words = np.ones(8, "<u4")
    for place in range(9):
        round_.people[place].machine.mask(words, round_.server.delivered(place))
        round_.server.take_vector(place, words)
        with pytest.raises(ParcelRefused, match="not asked for one"):
            round_.server.take_vector(place, words)
    assert round_.server.count == 9


@pytest.mark.parametrize("place", [5, 9, 99, -1])
def test_a_vector_of_a_device_that_did_not_share_or_is_nobody_is_refused(place):
    round_ = Round(*COMPLETE)
    round_.run({"share": {5}}, until="share")
    with pytest.raises(ParcelRefused, match="not asked for one"):
        round_.server.take_vector(place, np.ones(8, "<u4"))


def test_a_vector_that_comes_too_late_is_refused_and_the_sum_is_of_the_others():
    round_ = Round(*COMPLETE)
    round_.run({"train": {5}}, until="train")
    words = round_.people[5].plain.copy()
    round_.people[5].machine.mask(words, b"\xff" + bytes(80 * 8))
    with pytest.raises(ParcelRefused, match="not asked for one"):
        round_.server.take_vector(5, words)
    assert np.array_equal(round_.run_from("agree"), round_.truth())


# -- answers out of turn --


def test_every_exchange_takes_one_answer_of_a_device():
    """A second one could say something else than what others were shown."""
    round_ = after("enter")
    round_.server.take_sealed(0, bytes(32 + 8 * 80))
    with pytest.raises(ParcelRefused, match="not asked for them"):
        round_.server.take_sealed(0, bytes(32 + 8 * 80))

    round_ = after("share")
    with pytest.raises(ParcelRefused, match="not asked for them"):
        round_.server.take_sealed(0, bytes(32 + 8 * 80))

    round_ = after("agree")
    answer = round_.answer(0, round_.server.signatures(0))
    round_.server.take_shares(0, answer)
    with pytest.raises(ParcelRefused, match="not asked for them"):
        round_.server.take_shares(0, answer)


def test_a_signature_or_shares_of_a_device_that_is_not_in_the_sum_are_refused():
    """With its signature among theirs honest devices would refuse to answer."""
    round_ = Round(*COMPLETE)
    round_.run({"train": {8}}, until="train")
    with pytest.raises(ParcelRefused, match="not asked for one"):
        round_.server.take_signature(8, round_.people[8].sign("query.agree", round_.server.agreed))
    round_.agree()
    with pytest.raises(ParcelRefused, match="not asked for them"):
        round_.server.take_shares(8, b"\0")
    round_.unmask()
    assert np.array_equal(round_.server.open(), round_.truth())


# -- signatures --


@pytest.mark.parametrize("lie", SIGNATURE_LIES)
def test_a_signature_that_is_none_leaves_its_device_unasked_and_the_sum_exact(lie):
    round_ = told("signature", lie, LIAR)
    assert np.array_equal(round_.run_from("agree"), round_.truth())
    assert LIAR in round_.summed
    assert LIAR not in round_.asked


@pytest.mark.parametrize("lie", SIGNATURE_LIES)
def test_so_many_that_too_few_signed_end_the_round(lie):
    round_ = told("signature", lie, *range(LIAR), words=2000)
    with pytest.raises(DevicesLeft):
        round_.run_from("agree")
    assert looks_uniform(round_.server._total - round_.truth())


# -- shares of the secrets --


@pytest.mark.parametrize("lie", ["too short", "too long", "nothing", "no number of the field", "omitted"])
def test_shares_that_are_none_count_as_no_answer(lie):
    """Up to k - t of them for each device: from there on the round fails."""
    for liars in (1, 3):
        round_ = told("shares", lie, *range(liars))
        assert np.array_equal(round_.run_from("unmask"), round_.truth())
        assert round_.server.faulty <= set(range(liars))
    round_ = told("shares", lie, *range(4), words=2000)
    with pytest.raises((DevicesLeft, SumSpoilt), match=r" of 5 (of 9|devices are missing)"):
        round_.run_from("unmask")
    assert looks_uniform(round_.server._total - round_.truth())


@pytest.mark.parametrize("lie", ["wrong", "one wrong"])
def test_a_device_that_gives_wrong_shares_does_not_matter_and_is_named(lie):
    round_ = told("shares", lie, 0)
    assert np.array_equal(round_.run_from("unmask"), round_.truth())
    assert 0 in round_.server.faulty
    if lie == "wrong":
        assert round_.server.faulty == {0}


def test_as_many_wrong_shares_as_can_be_corrected_do_not_matter_and_are_named():
    """(k - t) / 2 of twelve, rounded down."""
    round_ = told("shares", "wrong", 0, 1, graph=WIDE)
    assert np.array_equal(round_.run_from("unmask"), round_.truth())
    assert round_.server.faulty == {0, 1}


def test_liars_that_are_known_from_other_secrets_are_left_out_so_that_more_of_them_do_not_matter():
    """Of each other three liars are two wrong shares, of the rest three: more than can be found there, not than can be
    done without.
    """
    round_ = told("shares", "wrong", 0, 1, 2, graph=WIDE)
    assert np.array_equal(round_.run_from("unmask"), round_.truth())
    assert round_.server.faulty == {0, 1, 2}


def test_more_wrong_shares_than_that_spoil_the_sum_and_reveal_nothing():
    round_ = told("shares", "wrong", *range(6), graph=WIDE, words=2000)
    with pytest.raises(SumSpoilt, match="do not fit"):
        round_.run_from("unmask")
    assert round_.server.suspected
    assert not round_.server.faulty, "whoever is suspected may be the one that they lied about"
    assert looks_uniform(round_.server._total - round_.truth())


def test_a_device_that_sends_nonsense_to_the_end_stops_nobody_from_the_next_round():
    for lie in SHARES_LIES:
        told("shares", lie, LIAR).run_from("unmask")
    again = Round(*COMPLETE, seed=3, plan="cd" * 32)
    assert np.array_equal(again.run(), again.truth())


def test_a_round_that_failed_stays_closed():
    round_ = told("sealed", "on no polynomial", LIAR)
    with pytest.raises(SumSpoilt):
        round_.run_from("share")
    with pytest.raises(RoundFailed):
        round_.server.open()
    round_.server.erase()
    with pytest.raises(RoundFailed):
        round_.server.open()
