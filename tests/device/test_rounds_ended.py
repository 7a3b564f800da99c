"""A no at any of the five exchanges ends a round there: nothing further leaves, no number and no key is left."""

from __future__ import annotations

import re
import threading
import time

import pytest

from fedpersona import Policy
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.link import provide
from fedpersona.errors import ConsentMissing, DeviceClosed, ServerUnreachable, Stopped
from fedpersona.privacy.fixed_point import FixedPoint
from tests.device.network import SERVER, Rounds, in_rounds, new_plan, stand_in, visited
from tests.device.one_server import AGREE, STEPS, UNMASK, UPDATE
from tests.device.servers import Scripted, offer


@pytest.fixture(autouse=True)
def web(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture
def words(monkeypatch):
    """Every update that is queued: the words that wait to be masked and sent."""
    seen = []
    encode_words = FixedPoint.encode_words

    def watched(self, update, offsets, out=None):
        seen.append(encode_words(self, update, offsets, out))
        assert seen[-1].any()
        return seen[-1]

    monkeypatch.setattr(FixedPoint, "encode_words", watched)
    return seen


def withdraw(device, stop):
    device.consent.withdraw("share_update", server=SERVER)


def close(device, stop):
    stop.set()


NOES = {"withdrawn": (withdraw, ConsentMissing), "stopped": (close, Stopped)}
TAKEN_BACK = "withdrawn meanwhile|took your yes back"
COMPUTES = dict(zip(STEPS, ("advertise", "share", "mask", "agree", "unmask"), strict=True))


def check(device, rounds, step, drawn, words):
    """Hold what must be true after a no at a step."""
    assert rounds.kinds == list(STEPS[: STEPS.index(step)])
    assert all(not one.any() for one in words), "what was queued is wiped"
    assert drawn.alive() == 0
    sent = [entry for entry in device.ledger.contributions(SERVER) if entry.plan_hash == _plan_of(rounds)]
    assert [entry.outcome for entry in sent] == ["delivered"] * (step in (AGREE, UNMASK))
    refused = device.ledger.tail(1)[0]
    assert (refused.kind, refused.plan_hash) in (("refused", _plan_of(rounds)), ("refused", None))
    assert re.search(f"{TAKEN_BACK}|stopped by the app; nothing more was sent", refused.reason)
    assert device.ledger.verify()


def _plan_of(rounds):
    return rounds._first


@pytest.mark.parametrize("how", NOES)
@pytest.mark.parametrize("step", STEPS)
def test_a_no_that_comes_with_a_question_leaves_it_unanswered(step, how, consenting, drawn, words):
    stop = Stop()
    say_no, error = NOES[how]
    rounds = Rounds(new_plan(), before=lambda kind: say_no(consenting, stop) if kind == step else None)
    if error is Stopped:
        with pytest.raises(Stopped):
            visited(consenting, in_rounds(rounds), stop)
        assert rounds.refusals == []
    else:
        told = visited(consenting, in_rounds(rounds))
        assert re.search(TAKEN_BACK, told)
        assert told.startswith("contributed to 1 round, then: " if step in (AGREE, UNMASK) else "not contributed: ")
        assert rounds.refusals == ["declined"], "and the server hears no reason"
    check(consenting, rounds, step, drawn, words)


@pytest.mark.parametrize("how", NOES)
@pytest.mark.parametrize("step", STEPS)
def test_a_no_that_comes_while_an_answer_is_computed_keeps_it_here(step, how, consenting, drawn, words, monkeypatch):
    stop = Stop()
    say_no, error = NOES[how]
    from fedpersona.device import secure_round

    watched = secure_round.DeviceRound
    computes = getattr(watched, COMPUTES[step])

    def computed(self, *arguments):
        answer = computes(self, *arguments)
        say_no(consenting, stop)
        return answer

    monkeypatch.setattr(watched, COMPUTES[step], computed)
    rounds = Rounds(new_plan())
    if error is Stopped:
        with pytest.raises(Stopped):
            visited(consenting, in_rounds(rounds), stop)
    else:
        assert re.search(TAKEN_BACK, visited(consenting, in_rounds(rounds)))
    assert drawn.numbers
    check(consenting, rounds, step, drawn, words)


@pytest.mark.parametrize("how", NOES)
def test_a_no_while_the_history_is_read_lets_not_even_a_key_out(how, consenting, drawn, words, monkeypatch):
    stop = Stop()
    say_no, error = NOES[how]
    plays = consenting.vault.plays

    def read(catalogue):
        say_no(consenting, stop)
        return plays(catalogue)

    monkeypatch.setattr(consenting.vault, "plays", read)
    rounds = Rounds(new_plan())
    if error is Stopped:
        with pytest.raises(Stopped):
            visited(consenting, in_rounds(rounds), stop)
    else:
        assert re.search(TAKEN_BACK, visited(consenting, in_rounds(rounds)))
    assert rounds.answers == []
    assert drawn.numbers == set()
    assert words == []


@pytest.mark.parametrize("how", NOES)
@pytest.mark.parametrize("step", STEPS[1:])
def test_a_no_while_the_server_keeps_the_device_waiting_ends_the_waiting_at_once(step, how, consenting, drawn, words):
    stop = Stop()
    say_no, error = NOES[how]
    asked = new_plan()
    waiting = threading.Event()
    link = Scripted(before=lambda kind: kind != step or waiting.set() or False)
    gate = Gate(consenting.vault, consenting.consent, lambda: consenting.policy, consenting.ledger, consenting.clock)
    raised: list[BaseException] = []

    def contribute():
        try:
            gate.contribute(SERVER, link, link.opening(offer(run=asked.run)), starter.catalogue(), stop)
        except BaseException as found:
            raised.append(found)

    thread = threading.Thread(target=contribute)
    thread.start()
    assert waiting.wait(20)
    began = time.monotonic()
    say_no(consenting, stop)
    thread.join(10)
    assert time.monotonic() - began < 1.5
    assert [type(found) for found in raised] == [error]
    raised.clear()
    assert [kind for kind, _ in link.answers] == [kind for kind in STEPS[: STEPS.index(step)] if kind != UPDATE]
    assert len(link.messages) == (step in (AGREE, UNMASK))
    assert all(not one.any() for one in words)
    assert drawn.alive() == 0


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_device_that_is_closed_in_the_middle_of_a_round_answers_nothing_more(step, device, drawn, words):
    device.consent.grant("share_update", server=SERVER)
    device.policy = Policy(least_cohort=8)
    waiting = threading.Event()

    def before(kind):
        if kind != step:
            return True
        waiting.set()
        return membership._worker.stopping.wished  # the server asks once the device is being closed, not before

    link = Scripted(offered=offer(), before=before)
    with provide(SERVER, lambda: link):
        membership = device.join(SERVER, wait=0)
        assert waiting.wait(20), membership.state
        device.close()
        assert not membership.running
    assert [kind for kind, _ in link.answers] == [kind for kind in STEPS[: STEPS.index(step)] if kind != UPDATE]
    assert len(link.messages) == (step in (AGREE, UNMASK))
    assert link.left
    assert all(not one.any() for one in words)
    assert drawn.alive() == 0
    with pytest.raises(DeviceClosed):
        device.ledger.tail()


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_breaks_leaves_no_secret_and_no_number(step, consenting, drawn, words):
    rounds = Rounds(new_plan())
    answer = rounds.answer

    def broken(ask, fields):
        if ask.parcel.kind == step:
            raise ServerUnreachable("the connection broke")
        answer(ask, fields)

    rounds.answer = broken
    with pytest.raises(ServerUnreachable):
        visited(consenting, in_rounds(rounds))
    assert rounds.kinds == list(STEPS[: STEPS.index(step)])
    assert all(not one.any() for one in words)
    assert drawn.alive() == 0
    sent = [entry for entry in consenting.ledger.contributions(SERVER) if entry.plan_hash == _plan_of(rounds)]
    expected = {UPDATE: ["unknown"], AGREE: ["delivered"], UNMASK: ["delivered"]}
    assert [entry.outcome for entry in sent] == expected.get(step, [])


@pytest.mark.parametrize("step", STEPS)
def test_an_error_of_our_own_leaves_no_secret_and_no_number(step, consenting, drawn, words, monkeypatch):
    from fedpersona.device import secure_round

    def bug(self, *arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(secure_round.DeviceRound, COMPUTES[step], bug)
    rounds = Rounds(new_plan())
    with pytest.raises(ZeroDivisionError):
        visited(consenting, in_rounds(rounds))
    assert rounds.kinds == list(STEPS[: STEPS.index(step)])
    assert all(not one.any() for one in words)
    assert drawn.alive() == 0


def test_after_a_whole_round_no_secret_and_no_number_is_left_and_while_it_runs_there_are(consenting, drawn, words):
    """So that what these tests look for can be found."""
    alive = []
    rounds = Rounds(new_plan(), before=lambda kind: alive.append(drawn.alive()))
    assert visited(consenting, in_rounds(rounds)) == "contributed to 1 round"
    assert rounds.kinds == list(STEPS)
    assert alive[0] == 0
    assert all(alive[1:])
    assert drawn.alive() == 0
    assert len(drawn.numbers) == 3
    assert not words[0].any()
