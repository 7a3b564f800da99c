"""What a device may answer at each of the five exchanges of a secure sum, and does not get away with.

An answer that is not of its form, or not its own, has its reason, and the device is left out: the sum is of the
others, to the bit. One that is, and does not fit what others say, is outvoted by them, or the round fails closed.
"""

from __future__ import annotations

import itertools
import secrets

import pytest
from flwr.app import ConfigRecord, Message

from fedpersona.aggregation.spoilers import Spoilers
from fedpersona.errors import SumSpoilt
from fedpersona.privacy.secagg.shamir import PRIME
from fedpersona.simulation.simulated_device import signing_key
from fedpersona.wire.parcel import BODIES, sign_reply
from tests.aggregation.people import (
    CROWD,
    FIRST,
    KINDS,
    MASKS,
    MODEL,
    PEOPLE,
    SEED,
    SPARE,
    configured,
    coordinated,
    coordinating,
    grid_of,
    honest,
    lying,
    of_all_but,
    plan_of,
)

IN_SUM = ("query.agree", "query.unmask")
"""Who is refused here has sent an update that counts."""
SEALED, SHARE, COMMITMENT, BITS = 80, 32, 32, 2
"""Bytes: of what is sealed for one neighbour, of a share; before the first of each, with eleven neighbours."""


def resigned(change, place: int = 0):
    """Change the body of an answer, and sign what came of it as the device of that place would."""

    def spoil(message: Message, answer: Message) -> Message:
        kind, fields = message.metadata.message_type, answer.content["parcel"]
        name = BODIES[kind]
        fields[name] = change(fields[name])
        fields["signature"] = sign_reply(kind, plan_of(message), fields[name], signing_key(SEED, place))
        return answer

    return spoil


def with_field(name: str, value: object):
    def spoil(message: Message, answer: Message) -> Message:
        answer.content["parcel"][name] = value
        return answer

    return spoil


def another_record(message: Message, answer: Message) -> Message:
    answer.content["more"] = ConfigRecord({"x": 1})
    return answer


def unchanged(body: bytes) -> bytes:
    return body


def garbage(body: bytes) -> bytes:
    return secrets.token_bytes(len(body) + 1)


FORMS = {
    "signed by another": (resigned(unchanged, place=3), "unsigned"),
    "one byte long": (resigned(lambda body: body + b"\0"), "shape"),
    "one byte short": (resigned(lambda body: body[:-1]), "shape"),
    "empty": (resigned(lambda body: b""), "shape"),
    "garbage": (resigned(garbage), "shape"),
    "a field too many": (with_field("more", b"x"), "shape"),
    "a record too many": (another_record, "shape"),
    "a signature that is a text": (with_field("signature", "x" * 64), "shape"),
    "a signature of zeros": (with_field("signature", bytes(64)), "unsigned"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_an_answer_of_another_form_or_of_another_device_is_refused_by_name_and_the_sum_is_right(form, kind):
    spoil, reason = FORMS[form]
    if kind not in BODIES and form not in ("a field too many", "a record too many", *list(FORMS)[-2:]):
        spoil, reason = with_field("signature", secrets.token_bytes(64)), "unsigned"  # there is nothing else in it
    coordinator = coordinated(lying(spoil, kind))
    assert coordinator.run_round().answered == PEOPLE - (kind not in IN_SUM)
    assert coordinator.shared.hash() == (of_all_but() if kind in IN_SUM else of_all_but(FIRST))
    assert coordinator.collector.tally.refused == {reason: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_true_in_an_earlier_round_is_not_in_this_one(kind):
    kept: list[Message] = []

    def spoil(message: Message, answer: Message) -> Message:
        kept.append(answer)
        return Message(kept[0].content, reply_to=message)

    coordinator = coordinated(lying(spoil, kind))
    assert coordinator.run_round().answered == PEOPLE
    assert not coordinator.collector.tally.refused
    assert coordinator.run_round().answered == PEOPLE - (kind not in IN_SUM)
    assert coordinator.collector.tally.refused == {"unsigned": 1}


@pytest.mark.parametrize(("earlier", "kind"), list(itertools.pairwise(KINDS)))
def test_an_answer_to_the_step_before_is_none_to_this_one(earlier, kind):
    kept: dict[str, Message] = {}

    def spoil(message: Message, answer: Message) -> Message:
        kept[message.metadata.message_type] = answer
        return answer if message.metadata.message_type == earlier else Message(kept[earlier].content, reply_to=message)

    coordinator = coordinated(lying(spoil, earlier, kind))
    assert coordinator.run_round().answered == PEOPLE - (kind not in IN_SUM)
    assert coordinator.collector.tally.refused == {"shape": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_answers_of_a_device_the_first_counts(kind):
    grid = grid_of()
    pull = grid.pull_messages

    def pulled(names):
        replies = list(pull(names))
        yield from replies
        yield from (reply for reply in replies if reply.metadata.src_node_id == FIRST)

    grid.pull_messages = pulled
    coordinator = coordinated(grid, cohort=PEOPLE + 1)
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.collector.tally.refused == {"double": len(KINDS)}


# -- keys --

LOW_ORDER = [bytes(32), b"\1" + bytes(31), b"\xff" * 32, (2**255 - 19).to_bytes(32, "little")]


@pytest.mark.parametrize("half", [slice(0, 32), slice(32, 64)], ids=["c", "s"])
@pytest.mark.parametrize("key", LOW_ORDER, ids=["0", "1", "all bits", "the prime"])
def test_a_key_that_nobody_could_mask_with_does_not_enter(key, half):
    """Its neighbours would all refuse: one such device would end every round."""

    def change(keys: bytes) -> bytes:
        return keys[: half.start] + key + keys[half.stop :]

    coordinator = coordinated(lying(resigned(change), "query.enter"))
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"shape": 1}
    assert coordinator.shared.hash() == of_all_but(FIRST)


def test_a_device_with_one_key_for_both_purposes_does_not_enter():
    coordinator = coordinated(lying(resigned(lambda keys: keys[:32] * 2), "query.enter"))
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"shape": 1}


def test_a_device_that_enters_with_the_key_of_another_is_not_in_the_roster():
    keys: list[bytes] = []
    last = PEOPLE - 1

    def node(message, context):
        answer = honest(message, context)
        if message.metadata.message_type == "query.enter":
            keys.append(answer.content["parcel"]["keys"])
            if context.node_id == FIRST + last:
                answer = resigned(lambda own: keys[0][:32] + own[32:], place=last)(message, answer)
        return answer

    coordinator = coordinated(grid_of(node))
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.collector.tally.refused == {"shape": 1}


# -- what is of its form, and false --


def sealed_badly(count: int):
    """Seal nothing that opens for so many neighbours."""

    def change(sealed: bytes) -> bytes:
        end = COMMITMENT + count * SEALED
        return sealed[:COMMITMENT] + secrets.token_bytes(end - COMMITMENT) + sealed[end:]

    return resigned(change)


def shares_changed(count: int):
    """Answer with other numbers for so many neighbours."""

    def change(shares: bytes) -> bytes:
        end = BITS + count * SHARE
        others = b"".join(secrets.randbelow(PRIME).to_bytes(SHARE, "little") for _ in range(count))
        return shares[:BITS] + others + shares[end:]

    return resigned(change)


def shares_withheld(shares: bytes) -> bytes:
    """Leave the first neighbour's share out."""
    bits = int.from_bytes(shares[:BITS], "little")
    return (bits & bits - 1).to_bytes(BITS, "little") + shares[BITS + SHARE :]


@pytest.mark.parametrize("count", [1, SPARE])
def test_sealed_shares_that_do_not_open_for_a_few_neighbours_harm_nothing(count):
    coordinator = coordinated(lying(sealed_badly(count), "query.share"), masks=MASKS, least=3)
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.shared.hash() == of_all_but()


def test_sealed_shares_that_do_not_open_for_too_many_fail_the_round_and_the_next_is_held_without_their_device():
    coordinator = coordinated(lying(sealed_badly(SPARE + 1), "query.share"), masks=MASKS, least=3)
    before = coordinator.shared.hash()
    with pytest.raises(SumSpoilt):
        coordinator.run_round()
    assert coordinator.shared.hash() == before
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.shared.hash() == of_all_but(FIRST)


@pytest.mark.parametrize("blamed", [(FIRST,), (FIRST, FIRST + 1)], ids=["of all others", "of one other"])
def test_false_shares_are_outvoted_and_their_device_sits_out_from_the_second_time_on(blamed):
    """Of one false share alone nobody can tell whether it was dealt or answered so: both may have done it."""
    count = PEOPLE - 1 if len(blamed) == 1 else 1
    coordinator = coordinated(lying(shares_changed(count), "query.unmask"), masks=MASKS, least=3)
    entered = []
    for _ in range(4):
        coordinator.shared = MODEL.init(CROWD.catalogue, SEED)
        coordinator.run_round()
        entered.append(coordinator.collector.tally.entered)
        gone = () if entered[-1] == PEOPLE else blamed
        assert coordinator.shared.hash() == of_all_but(*gone)
    assert entered == [12, 12, 12 - len(blamed), 12]


def test_shares_that_are_no_numbers_of_the_field_are_refused():
    def change(shares: bytes) -> bytes:
        return shares[:BITS] + b"\xff" * (len(shares) - BITS)

    coordinator = coordinated(lying(resigned(change), "query.unmask"))
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.shared.hash() == of_all_but()
    assert coordinator.collector.tally.refused == {"shape": 1}


def test_a_share_that_is_withheld_is_not_needed():
    coordinator = coordinated(lying(resigned(shares_withheld), "query.unmask"))
    assert coordinator.run_round().answered == PEOPLE
    assert coordinator.shared.hash() == of_all_but()


@pytest.mark.parametrize("count", [2, SPARE + 1])
def test_a_few_that_lie_about_shares_are_outvoted_and_of_more_the_round_fails_closed(count):
    liars = tuple(range(FIRST, FIRST + count))
    coordinator = coordinated(lying(shares_changed(PEOPLE - 1), "query.unmask", liars=liars), masks=MASKS, least=3)
    before = coordinator.shared.hash()
    if count > SPARE:
        with pytest.raises(SumSpoilt):
            coordinator.run_round()
        assert coordinator.shared.hash() == before
    else:
        assert coordinator.run_round().answered == PEOPLE
        assert coordinator.shared.hash() == of_all_but()


def test_a_device_that_commits_to_another_secret_than_it_shares_spoils_a_sum_and_the_next_is_held_without_it():
    spoil = resigned(lambda sealed: secrets.token_bytes(COMMITMENT) + sealed[COMMITMENT:])
    coordinator = coordinated(lying(spoil, "query.share"), masks=MASKS, least=3)
    with pytest.raises(SumSpoilt):
        coordinator.run_round()
    assert coordinator.run_round().answered == PEOPLE - 1
    assert coordinator.shared.hash() == of_all_but(FIRST)


def noise(data: bytes) -> bytes:
    """Replace the masked words by others; the header stays."""
    start = data.index(b"\n", len(b"fedpersona update 1\n")) + 1
    return data[:start] + secrets.token_bytes(len(data) - start)


def test_noise_in_place_of_a_masked_vector_is_not_a_sum_and_releases_nothing():
    """Nobody can tell whose it was: that is what masks are for. The round is named spoilt, and tried again."""
    coordinator = coordinated(lying(resigned(noise), "train.update"))
    before = coordinator.shared.hash()
    with pytest.raises(SumSpoilt, match="does not count as many"):
        coordinator.run_round()
    assert coordinator.shared.hash() == before


def test_one_device_that_sends_noise_is_found_by_halves_and_left_out():
    """Among twelve it takes four attempts that fail, and at most as many more that do not."""
    coordinator = coordinated(lying(resigned(noise), "train.update"), masks=MASKS, least=3)
    spoilt, sums = 0, 0
    while sums < 6:
        coordinator.shared = MODEL.init(CROWD.catalogue, SEED)
        try:
            coordinator.run_round()
        except SumSpoilt:
            spoilt += 1
            assert spoilt < 10
        else:
            sums += 1
            assert (
                FIRST not in coordinator.collector._spoilers._suspects or coordinator.collector.tally.entered < PEOPLE
            )
    assert coordinator.collector._spoilers._faults[FIRST] >= 1
    others = {node: faults for node, faults in coordinator.collector._spoilers._faults.items() if node != FIRST}
    assert not any(others.values()), "nobody else was blamed"


def test_a_spoilt_sum_is_tried_again_and_the_journal_names_it(tmp_path):
    left = [1]

    def spoil(message: Message, answer: Message) -> Message:
        return resigned(noise)(message, answer) if left and left.pop() else answer

    config, grid = configured(tmp_path / "server"), lying(spoil, "train.update")
    with coordinating(config, grid) as work:
        assert work.train(grid) == 1
        rounds = work.journal.rounds()[::-1]
        assert [(one.round_number, one.attempt, one.outcome) for one in rounds] == [
            (1, 1, "spoilt"),
            (1, 2, "completed"),
            (2, 1, "completed"),
        ]


def test_a_federation_whose_every_sum_is_spoilt_ends_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr(Spoilers, "without", lambda self, present, wanted: present)  # as where none can be spared
    config, grid = configured(tmp_path / "server"), lying(resigned(noise), "train.update")
    with coordinating(config, grid) as work:
        with pytest.raises(SumSpoilt):
            work.train(grid)
        assert [one.outcome for one in work.journal.rounds()] == ["spoilt"] * 3
        assert work.journal.state().state == "waiting"
        assert work.registry.promoted() is None
