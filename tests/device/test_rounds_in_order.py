"""A device takes each step of a round once and in order, and what it sent is told as sent, whatever follows."""

from __future__ import annotations

import pytest

from fedpersona.device import secure_round
from fedpersona.privacy.secagg.messages import decode_shares, encode_delivered
from fedpersona.privacy.secagg.survivors import encoded_bits
from tests.device.network import (
    SERVER,
    Rounds,
    Web,
    ask_of,
    ask_of_plan,
    in_rounds,
    new_plan,
    noes,
    said,
    stand_in,
    visited,
)
from tests.device.one_server import AGREE, ENTER, SHARE, STEPS, UNMASK, UPDATE, Fields, OneServer


@pytest.fixture(autouse=True)
def web(monkeypatch):
    stand_in(monkeypatch)


def last_of(device):
    return device.ledger.contributions(SERVER)[-1]


# -- once, and in order --


def other(one: OneServer, kind: str) -> Fields:
    """Return another question of an exchange than the device was asked, of the agreed form and as true as can be."""
    fields = dict(one.asks(kind))
    if kind == SHARE:
        return one.shows([*one.entries[:4], one.entries[4], *reversed(one.entries[5:])])
    if kind == UPDATE:
        others = one.server._neighbours[4]
        sealed = {place: one.server._sealed[place][4] for place in others[1:]}
        return {**fields, "shares": encode_delivered(sealed, others)}
    if kind == AGREE:
        return {**fields, "survivors": encoded_bits(one.server.summed - {9}, 10)}
    return {**fields, "signatures": fields["signatures"][68:] + fields["signatures"][:68]}


@pytest.mark.parametrize("again", [lambda one, kind: dict(one.asks(kind)), other], ids=["the same", "another"])
@pytest.mark.parametrize("kind", [SHARE, UPDATE, AGREE, UNMASK])
def test_a_step_that_is_asked_a_second_time_is_answered_late_and_the_round_goes_on(kind, again, consenting, drawn):
    refused = len(noes(consenting))
    rounds = Rounds(new_plan(), after={kind: lambda one: [ask_of(kind, again(one, kind))]})
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    assert rounds.kinds == list(STEPS)
    assert rounds.late == [kind]
    assert rounds.refusals == ["late"]
    assert rounds.round.opened().any()
    assert len(noes(consenting)) == refused
    assert drawn.alive() == 0


@pytest.mark.parametrize("kind", [ENTER, SHARE, UPDATE, AGREE])
def test_a_plan_that_comes_a_second_time_ends_its_round_and_is_not_entered_again(kind, consenting, drawn):
    asked = new_plan()
    rounds = Rounds(asked, after={kind: lambda one: [ask_of_plan(asked)]})
    told = visited(consenting, in_rounds(rounds))
    assert rounds.kinds == list(STEPS[: STEPS.index(kind) + 1])
    assert "round that is over" in noes(consenting)[-1]
    assert told.startswith("contributed to 1 round" if UPDATE in rounds.kinds else "no")
    assert drawn.alive() == 0


def honestly(kind: str, one: OneServer) -> Fields:
    """Return what an honest server asks in a later exchange, though the device has not had those before it."""
    for step in STEPS[1 : STEPS.index(kind)]:
        one.asks(step)
    return one.asks(kind)


SKIPPED = [(ENTER, UPDATE), (ENTER, AGREE), (SHARE, AGREE), (SHARE, UNMASK), (ENTER, UNMASK), (UPDATE, UNMASK)]


@pytest.mark.parametrize(("had", "asked"), SKIPPED, ids=[f"{asked} after {had}" for had, asked in SKIPPED])
def test_a_step_that_comes_before_its_turn_is_answered_late_and_is_never_taken(had, asked, consenting, drawn):
    """Shares without a look at the list of survivors, a mask without sharing: the crowd is there, and would help."""

    def early(one: OneServer):
        if had == ENTER:  # the roster is closed, and this device is not shown it
            one.asks(SHARE)
            made = {
                UPDATE: {"shares": b"\xff\x01" + bytes(9 * 80)},
                AGREE: {"survivors": encoded_bits(range(10), 10)},
                UNMASK: {"signatures": bytes(68 * 7)},
            }[asked]
            return [ask_of(asked, {"plan_hash": one.hash.encode(), **made})]
        return [ask_of(asked, honestly(asked, one))]

    following = STEPS[STEPS.index(had) + 1]
    rounds = Rounds(new_plan(), after={had: early}, silent=[following])
    told = visited(consenting, in_rounds(rounds))
    assert rounds.kinds == list(STEPS[: STEPS.index(had) + 1])
    assert rounds.late == [asked]
    assert told == ("contributed to 1 round" if UPDATE in rounds.kinds else "no round was open")
    assert drawn.alive() == 0


@pytest.mark.parametrize("kind", [SHARE, UPDATE, AGREE, UNMASK])
def test_a_message_of_another_round_is_answered_late_and_the_round_goes_on(kind, consenting):
    before = STEPS[STEPS.index(kind) - 1]

    def foreign(one: OneServer):
        return [ask_of(kind, {**one.asks(kind), "plan_hash": b"0" * 64})]

    rounds = Rounds(new_plan(), after={before: foreign})
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    assert rounds.kinds == list(STEPS)
    assert rounds.late == [kind]


def test_what_a_round_before_asked_gets_no_answer_in_the_next_one(consenting, drawn):
    first: list[OneServer] = []

    def old(one: OneServer):
        if not first:
            first.append(one)
            return []
        return [ask_of(kind, first[0].asks(kind)) for kind in STEPS[1:]]

    serials = (new_plan(serial=5), new_plan(serial=6))
    rounds = Rounds(*serials, after={ENTER: old, UPDATE: lambda one: old(one) if one is not first[0] else []})
    assert visited(consenting, in_rounds(rounds)) == "contributed to 2 rounds"
    assert rounds.kinds == [*STEPS, *STEPS]
    assert rounds.late == [*STEPS[1:], *STEPS[1:]]
    keys = [fields["keys"] for kind, fields in rounds.answers if kind == ENTER]
    assert len({keys[0][:32], keys[0][32:], keys[1][:32], keys[1][32:]}) == 4, "each round has keys of its own"
    assert drawn.alive() == 0


# -- shares --


def test_of_each_neighbour_one_share_is_given_of_its_mask_where_it_is_in_the_sum_of_its_key_where_it_left(consenting):
    rounds = Rounds(new_plan(), gone={AGREE: 2})
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    given = decode_shares(dict(rounds.answers)[UNMASK]["shares"], rounds.round.server._neighbours[4])
    assert list(given) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert len(dict(rounds.answers)[UNMASK]["shares"]) == 2 + 9 * 32
    assert rounds.round.opened().any()
    assert rounds.round.server.faulty == set(), "a share of the other secret would not fit"


@pytest.mark.parametrize("sealed", [bytes(80), None], ids=["noise", "another's"])
def test_a_neighbour_whose_sealed_shares_do_not_open_is_one_share_less_and_no_more(sealed, consenting):
    """Any device may send such: that ends no round, and this device does not make a share up."""

    def garbled(one: OneServer, fields: Fields) -> Fields:
        others = one.server._neighbours[4]
        found = {place: one.server._sealed[place][4] for place in others}
        found[7] = found[8] if sealed is None else sealed
        return {**fields, "shares": encode_delivered(found, others)}

    rounds = Rounds(new_plan(), lies={UPDATE: garbled})
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    given = decode_shares(dict(rounds.answers)[UNMASK]["shares"], rounds.round.server._neighbours[4])
    assert list(given) == [0, 1, 2, 3, 5, 6, 8, 9]
    assert rounds.round.opened().any()
    assert rounds.round.server.faulty == set()


# -- what was sent stays sent --


@pytest.mark.parametrize("step", [AGREE, UNMASK])
@pytest.mark.parametrize("how", ["given up", "silent", "expired"])
def test_what_was_sent_is_delivered_though_the_server_does_not_go_on(how, step, consenting, drawn, monkeypatch):
    rounds = Rounds(new_plan(), silent=[step])
    if how == "silent":
        monkeypatch.setattr(secure_round, "_LONGEST_WAIT", 0.3)
        quiet = said(bell=99, busy=True)

        def over(kind: str) -> None:
            Web.pages["/v1/bell"] = quiet

        rounds._before = over
    link = in_rounds(rounds)
    if how == "silent":  # and once it has given up waiting, nothing is open
        offer = link.offer

        def last_look(seconds):
            if rounds.kinds:
                Web.pages["/v1/bell"] = said(bell=99, busy=False)
            return offer(seconds)

        monkeypatch.setattr(link, "offer", last_look)
    if how == "expired":
        rounds._before = lambda kind: (
            kind == STEPS[STEPS.index(step) - 1]
            and monkeypatch.setattr("fedpersona.device.network_link._OVERTIME", -1e9)
        )
    refused = len(noes(consenting))
    assert visited(consenting, link) == "contributed to 1 round"
    assert rounds.kinds == list(STEPS[: STEPS.index(step)])
    assert last_of(consenting).outcome == "delivered"
    assert last_of(consenting).plan_hash == rounds.round.hash
    assert len(noes(consenting)) == refused, "a server that has what it needs from others does nothing wrong"
    assert drawn.alive() == 0


@pytest.mark.parametrize("step", [AGREE, UNMASK])
def test_what_was_sent_is_delivered_though_the_server_begins_another_round_and_that_is_answered(step, consenting):
    first, second = new_plan(serial=5), new_plan(serial=6)
    after = STEPS[STEPS.index(step) - 1]
    rounds = Rounds(
        first, silent=[step], after={after: lambda one: [ask_of_plan(second)] if one.hash == first.hash() else []}
    )
    assert visited(consenting, in_rounds(rounds)) == "contributed to 2 rounds"
    assert rounds.kinds == [*STEPS[: STEPS.index(step)], *STEPS]
    sent = consenting.ledger.contributions(SERVER)[-2:]
    assert [(entry.plan_hash, entry.outcome) for entry in sent] == [
        (first.hash(), "delivered"),
        (second.hash(), "delivered"),
    ]
    assert rounds.round.opened().any()


@pytest.mark.parametrize("step", [SHARE, UPDATE])
def test_a_round_that_is_begun_again_before_anything_was_sent_is_no_contribution_and_the_next_is(step, consenting):
    first, second = new_plan(serial=5), new_plan(serial=6)
    after = STEPS[STEPS.index(step) - 1]
    sent = len(consenting.ledger.contributions(SERVER))
    rounds = Rounds(
        first, silent=[step], after={after: lambda one: [ask_of_plan(second)] if one.hash == first.hash() else []}
    )
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    (entry,) = consenting.ledger.contributions(SERVER)[sent:]
    assert entry.plan_hash == second.hash()


def test_what_was_sent_is_delivered_though_the_server_lies_then_and_the_ledger_has_both(consenting):
    rounds = Rounds(new_plan(), lies={AGREE: lambda one, fields: {**fields, "survivors": bytes(2)}})
    assert visited(consenting, in_rounds(rounds)).startswith("contributed to 1 round, then: the server says")
    sent, refused = consenting.ledger.tail(2)
    assert (sent.kind, sent.outcome, sent.plan_hash) == ("sent", "delivered", rounds.round.hash)
    assert (refused.kind, refused.plan_hash) == ("refused", rounds.round.hash)
    assert "gets no help with that sum" in refused.reason
    assert consenting.ledger.verify()
