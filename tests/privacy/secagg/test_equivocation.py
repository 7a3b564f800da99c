"""A server that says one thing to some devices and another to others: it gets a sum that means nothing, or no answer.

What holds with devices that help the server is in ``test_collusion.py``; here all are honest.
"""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import ParcelRefused, PlanRefused, RoundFailed
from fedpersona.privacy.secagg import DeviceRound, Parameters, ServerRound
from fedpersona.privacy.secagg.messages import decode_sealed, decode_shares, encode_delivered, encode_signatures
from fedpersona.privacy.secagg.survivors import encoded_bits
from tests.privacy.secagg.rounds import COMPLETE, PLAN, SPARSE, Round, after
from tests.privacy.secagg.secrets_left import left_in, secrets_of
from tests.privacy.secagg.statistic import looks_uniform

SIZE, PARAMETERS = COMPLETE
T = PARAMETERS.threshold
EVERYBODY = frozenset(range(SIZE))


# -- two rosters of one plan --


def split_in_two(second: set[int], words: int = 2000) -> tuple[dict[int, np.ndarray], Round, dict[int, DeviceRound]]:
    """Show some devices a roster with one device more at its end; return what all sent."""
    ten = Parameters(10, 6)  # with one device more everybody is a neighbour, too
    one = after("enter", (SIZE, ten), words)
    other = ServerRound(PLAN, 1, ten, least=3, total=np.zeros(words, "<u4"))
    stranger = one.person(99)
    keys = stranger.machine.advertise()
    for entry in one.server._entered:
        other.enter(entry.identity, entry.keys, entry.signature)
    other.enter(stranger.identity, keys, stranger.sign("query.enter", keys))
    heads = {False: one.head, True: other.close_roster().encode()}
    servers = {False: one.server, True: other}
    sealed = {}
    for place, person in enumerate(one.people):
        twice = place in second
        answer = person.machine.share(heads[twice], servers[twice].view(place))
        sealed[place] = decode_sealed(answer, servers[twice]._neighbours[place])[1]
    if second:
        sealed[SIZE] = decode_sealed(stranger.machine.share(heads[True], other.view(SIZE)), range(SIZE))[1]
    sent = {}
    for place, person in enumerate(one.people):
        neighbours = servers[place in second]._neighbours[place]
        sent[place] = person.plain.copy()
        received = {sender: pieces[place] for sender, pieces in sealed.items() if sender in neighbours}
        person.machine.mask(sent[place], encode_delivered(received, neighbours))
    return sent, one, {place: person.machine for place, person in enumerate(one.people)}


@pytest.mark.parametrize("second", [{4}, {0, 8}, {0, 2, 4, 6}, set(range(1, 9))])
def test_a_roster_split_in_two_makes_masks_that_do_not_cancel_whoever_is_on_which_side(second):
    sent, round_, machines = split_in_two(second)
    total = round_.sum_of(())
    for words in sent.values():
        total += words
    for group in (second, EVERYBODY - second, EVERYBODY):
        part = sum((sent[place] for place in group), round_.sum_of(()))
        assert looks_uniform(part - round_.sum_of(group))
    # No share of one side opens on the other: neither secret of a device can be recovered there, also not of one alone.
    for place, machine in machines.items():
        for other in EVERYBODY - {place}:
            opened = machine._secrets.held[other] is not None
            assert opened == ((place in second) == (other in second))


def test_each_side_of_a_split_roster_agrees_on_its_own_lists_only():
    second = {0, 2, 4, 6}
    _, _, machines = split_in_two(second, words=8)
    agreed = {
        place: machine.agree(encoded_bits(EVERYBODY, SIZE + (place in second))) for place, machine in machines.items()
    }
    assert len({agreed[place] for place in second}) == 1
    assert len({agreed[place] for place in EVERYBODY - second}) == 1
    assert len(set(agreed.values())) == 2


def test_a_device_that_is_shown_another_plan_or_model_enters_nobody_elses_round():
    """Its keys are signed for the plan that it was shown, which covers the hash of the model."""
    round_ = Round(*COMPLETE)
    other = Round(*COMPLETE, plan="cd" * 32)
    keys = other.people[0].machine.advertise()
    signature = other.people[0].sign("query.enter", keys, plan="cd" * 32)
    with pytest.raises(ParcelRefused, match="not signed"):
        round_.server.enter(other.people[0].identity, keys, signature)


def test_devices_of_two_plans_have_nothing_in_common_though_a_server_mixes_them():
    """What the entry's signature forbids, done all the same: neither masks nor shares fit."""
    round_ = Round(*COMPLETE, words=2000)
    round_.people[3].machine._plan_hash = "cd" * 32
    round_.run(until="enter")
    for person in round_.people:  # every device takes every signature
        person.machine._entries = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedpersona.privacy.secagg.device.verify_reply", lambda *given: None)
        round_.run_from("share", until="train")
    total = sum(round_.sent.values(), round_.sum_of(()))
    assert looks_uniform(total - round_.truth())
    assert looks_uniform(round_.sent[3] - round_.people[3].plain)
    assert all(round_.people[place].machine._secrets.held[3] is None for place in EVERYBODY - {3})
    with pytest.raises(RoundFailed):
        round_.run_from("agree")


# -- who is in the sum --


def refused(machine: DeviceRound, survivors: bytes, why: str) -> None:
    secrets = secrets_of(machine)
    with pytest.raises(PlanRefused, match=why):
        machine.agree(survivors)
    assert machine.finished
    assert secrets
    assert not left_in(machine, secrets)


@pytest.mark.parametrize(
    ("survivors", "why"),
    [
        (b"", "another form"),
        (b"\xff", "another form"),
        (b"\xff\x03", "another form"),
        (b"\xff\x81", "another form"),
        (b"\xff\x01\x00", "another form"),
        (b"\xfe\x01", "this device is not in the sum"),
        (b"\x00\x00", "this device is not in the sum"),
        (b"\x01\x00", "the sum would be of 1 devices, the plan says 3 or more"),
        (b"\x03\x00", "the sum would be of 2 devices, the plan says 3 or more"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(survivors, why):
    """Of nine devices, to the first: truncated, too long, without it, of one, of two."""
    refused(after("train").people[0].machine, survivors, why)


@pytest.mark.parametrize("least", [0, 1, 2])
def test_a_sum_of_one_or_two_is_refused_though_the_plan_says_that_is_enough(least):
    for survivors in (b"\x01\x00", b"\x11\x00"):
        round_ = Round(*COMPLETE, least=least)
        round_.run(until="train")
        refused(round_.people[0].machine, survivors, "the plan says 3 or more")


def test_a_sum_of_fewer_than_the_plan_says_is_refused():
    round_ = Round(*COMPLETE, least=8)
    round_.run({"train": {8}}, until="train")
    refused(round_.people[0].machine, b"\x7f\x00", "the sum would be of 7 devices, the plan says 8 or more")
    assert round_.people[1].machine.agree(round_.survivors)


def test_a_device_that_never_shared_is_in_no_sum_that_its_neighbours_help_with():
    round_ = Round(*COMPLETE)
    round_.run({"share": {5}}, until="train")
    refused(round_.people[0].machine, encoded_bits(EVERYBODY, SIZE), "by its own word, had left")


def test_a_server_that_hides_one_devices_shares_from_another_gets_a_sum_that_means_nothing():
    """They masked differently; neither helps with a sum that both are in."""
    round_ = after("share", words=2000)

    def hiding(name: str, place: int, message: bytes) -> bytes:
        if name != "delivered" or place != 0:
            return message
        rest = {other: round_.server._sealed[other][0] for other in range(1, 9) if other != 4}
        return encode_delivered(rest, round_.neighbours(0))

    round_.tamper = hiding
    total = round_.run_from("train")
    assert isinstance(round_.refusals[0], PlanRefused)
    assert looks_uniform(total - round_.truth())
    for place in EVERYBODY:
        assert looks_uniform(total - round_.people[place].plain)


# -- signatures under the list --


@pytest.mark.parametrize(
    "lie",
    ["none", "too few", "of itself", "of a stranger", "of nobody", "of another list", "of another plan", "of keys"],
)
def test_signatures_that_do_not_show_that_t_neighbours_saw_the_list_are_refused(lie):
    """Of nine devices the first needs those of five others."""
    round_ = after("agree")
    signed = {place: round_.server._signed[place] for place in range(1, T + 1)}
    other_list = b"another list".ljust(32)
    person = round_.people[1]
    signed |= {
        "none": {},
        "too few": {},
        "of itself": {0: round_.server._signed[0]},
        "of a stranger": {1: round_.person(99).sign("query.agree", round_.server.agreed)},
        "of nobody": {SIZE: round_.server._signed[1]},
        "of another list": {1: person.sign("query.agree", other_list)},
        "of another plan": {1: person.sign("query.agree", round_.server.agreed, "cd" * 32)},
        "of keys": {1: person.sign("query.enter", round_.server.agreed)},
    }[lie]
    if lie == "too few":
        del signed[T]
    machine = round_.people[0].machine
    secrets = secrets_of(machine)
    with pytest.raises(PlanRefused, match=r"signature|it takes 5"):
        machine.unmask(encode_signatures({} if lie == "none" else signed))
    assert machine.finished
    assert not left_in(machine, secrets)


def test_exactly_t_signatures_are_enough():
    round_ = after("agree")
    signed = {place: round_.server._signed[place] for place in range(1, T + 1)}
    assert round_.people[0].machine.unmask(encode_signatures(signed))


def test_a_signature_counts_once():
    round_ = after("agree")
    signed = encode_signatures({place: round_.server._signed[place] for place in range(1, T)})
    for again in (signed[:68], (1).to_bytes(4, "little") + bytes(64)):
        machine = after("agree").people[0].machine
        with pytest.raises(PlanRefused, match="another form"):
            machine.unmask(signed + again)
        assert machine.finished


def test_the_signature_of_a_device_that_is_not_in_the_sum_is_refused_though_it_is_right():
    round_ = Round(*COMPLETE)
    round_.run({"train": {8}}, until="agree")
    signed = {place: round_.server._signed[place] for place in range(1, T)}
    signed[8] = round_.people[8].sign("query.agree", round_.server.agreed)
    with pytest.raises(PlanRefused, match="no neighbour that is in it"):
        round_.people[0].machine.unmask(encode_signatures(signed))


def test_the_signature_of_a_device_that_is_no_neighbour_is_refused_though_it_is_right():
    round_ = after("agree", SPARSE)
    machine = round_.people[0].machine
    stranger = next(place for place in range(1, 30) if place not in round_.neighbours(0))
    signed = {place: round_.server._signed[place] for place in (*round_.neighbours(0), stranger)}
    with pytest.raises(PlanRefused, match="no neighbour"):
        machine.unmask(encode_signatures(signed))


# -- the victim alive to some, dropped to others --


@pytest.mark.parametrize("told_dropped", range(9))
def test_no_two_lists_get_both_secrets_of_a_device(told_dropped):
    """A list has one bit a device; so some neighbours are told that the victim is in the sum, others that it left."""
    round_ = after("train")
    victim = 8
    lists = {place: EVERYBODY - {victim} if place < told_dropped else EVERYBODY for place in EVERYBODY - {victim}}
    lists[victim] = EVERYBODY
    agreed = {place: round_.people[place].machine.agree(encoded_bits(lists[place], SIZE)) for place in EVERYBODY}
    signed = {place: round_.people[place].sign("query.agree", body) for place, body in agreed.items()}
    given = {"b": 0, "s": 0}
    for place in EVERYBODY - {victim}:
        same = {other: signed[other] for other in lists if lists[other] == lists[place] and other != place}
        try:
            answer = round_.people[place].machine.unmask(encode_signatures(same))
        except PlanRefused:
            continue
        if victim in decode_shares(answer, round_.neighbours(place)):
            given["s" if place < told_dropped else "b"] += 1
    assert min(given.values()) < T
    assert not (given["b"] and given["s"])  # 5 of 8 saw the same list: of the others there are too few
    assert given["b"] == (8 if told_dropped == 0 else 8 - told_dropped if 8 - told_dropped >= T else 0)
