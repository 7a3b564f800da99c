"""A device's five steps, each once and in order; whatever does not fit ends them, and nothing secret is left."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from fedpersona.errors import PlanRefused
from fedpersona.privacy.secagg import DeviceRound
from tests.privacy.secagg.rounds import COMPLETE, EXCHANGES, Round, after
from tests.privacy.secagg.secrets_left import left_in, secrets_of

STEPS = ("advertise", "share", "mask", "agree", "unmask")


def honest(round_: Round) -> dict[str, tuple]:
    """What a server that does not lie gives the first device at each step; as far as the round has come."""
    found: dict[str, tuple] = {"advertise": (), "mask": (np.zeros(8, "<u4"), b"")}
    found["share"] = (round_.head, round_.server.view(0) if round_.head else b"")
    if round_.shared:
        sealed = round_.server.delivered(0) if not round_.survivors else b"\xff" + bytes(8 * 80)
        found["mask"] = (np.zeros(8, "<u4"), sealed)
    found["agree"] = (round_.survivors or b"\xff\x01",)
    found["unmask"] = (round_.server.signatures(0) if round_.asked else b"",)
    return found


def taken(steps: int) -> tuple[Round, DeviceRound]:
    """A round in which every device has taken so many steps."""
    round_ = Round(*COMPLETE) if not steps else after(EXCHANGES[steps - 1])
    return round_, round_.people[0].machine


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("step", range(5))
def test_a_step_that_is_not_the_next_is_refused_and_ends_the_round(steps, step):
    if step == steps:
        return
    round_, machine = taken(steps)
    secrets = secrets_of(machine)
    asked = honest(round_)
    with pytest.raises(PlanRefused, match="a second time, or out of order"):
        getattr(machine, STEPS[step])(*asked[STEPS[step]])
    assert machine.finished
    assert not left_in(machine, secrets)
    for again in STEPS:  # also the step that would have been the next
        with pytest.raises(PlanRefused, match="a second time, or out of order"):
            getattr(machine, again)(*asked[again])


@pytest.mark.parametrize("steps", range(1, 5))
@pytest.mark.parametrize("junk", [b"", b"\0", bytes(36), b"\xff" * 200])
def test_a_step_with_bytes_that_mean_nothing_is_refused_and_ends_the_round(steps, junk):
    _, machine = taken(steps)
    secrets = secrets_of(machine)
    assert secrets
    assert left_in(machine, secrets)  # the search finds what is there
    words = np.arange(8, dtype="<u4")
    arguments = {1: (junk, junk), 2: (words, junk), 3: (junk,), 4: (junk,)}[steps]
    with pytest.raises(PlanRefused):
        getattr(machine, STEPS[steps])(*arguments)
    assert machine.finished
    assert not left_in(machine, secrets)
    assert np.array_equal(words, np.arange(8))


def test_nothing_secret_is_left_once_all_steps_are_taken():
    before = [secrets_of(taken(steps)[1]) for steps in range(5)]
    _, machine = taken(5)
    assert machine.finished
    assert all(before[1:])
    assert not left_in(machine, set().union(*before))


def test_once_it_has_masked_a_device_does_not_have_what_it_masked_with():
    _, before = taken(2)
    _, after_ = taken(3)
    kept = before._secrets
    own = {kept.c.scalar, kept.s.scalar, kept.b, *kept.sealing.values(), *kept.masking.values()}
    spelt = {number.to_bytes(32, "little") for number in own if isinstance(number, int)}
    assert left_in(before, own) >= own
    assert not left_in(after_, own | spelt)
    assert secrets_of(after_)  # the shares of others: what it is there for yet


@pytest.mark.parametrize("steps", range(6))
def test_a_device_forgets_at_any_time_and_answers_nothing_after_that(steps):
    round_, machine = taken(steps)
    secrets = secrets_of(machine)
    machine.erase()
    assert machine.finished
    assert not left_in(machine, secrets)
    for step in STEPS:
        with pytest.raises(PlanRefused):
            getattr(machine, step)(*honest(round_)[step])


def test_whatever_goes_wrong_inside_a_step_ends_the_round():
    def fails(size: int) -> bytes:
        raise OSError("no randomness")

    round_ = after("enter")
    machine = round_.people[0].machine
    secrets = secrets_of(machine)
    machine._random = fails
    with pytest.raises(OSError, match="no randomness"):
        machine.share(round_.head, round_.server.view(0))
    assert machine.finished
    assert not left_in(machine, secrets)


def test_every_round_has_keys_of_its_own():
    """A round that is begun again never has the same ones."""
    drawn = set()
    for _ in range(20):
        machine = DeviceRound("ab" * 32, COMPLETE[1], least=3, most=9, identity=bytes(32))
        drawn.add(machine.advertise())
        drawn |= secrets_of(machine)
    assert len(drawn) >= 20 * 3


def test_a_second_answer_to_other_lists_is_refused():
    """The attack on Flower's protocol: ask once with a device in the sum, once more without it."""
    round_ = after("agree")
    signatures = round_.server.signatures(0)
    machine = round_.people[0].machine
    machine.unmask(signatures)
    with pytest.raises(PlanRefused):
        machine.unmask(signatures)
    with pytest.raises(PlanRefused):
        machine.agree(round_.survivors)


def test_a_second_list_of_who_is_in_the_sum_is_refused_and_costs_the_first_its_answer():
    round_ = after("train")
    machine = round_.people[0].machine
    machine.agree(round_.survivors)
    with pytest.raises(PlanRefused):
        machine.agree((0b011111111).to_bytes(2, "little"))
    signed = copy.deepcopy(after("agree"))
    with pytest.raises(PlanRefused):
        machine.unmask(signed.server.signatures(0))
