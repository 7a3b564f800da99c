import pytest

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import REASONS, Condition, Counter, Journal
from fedpersona.errors import ServerError
from fedpersona.wire.parcel import REFUSALS


@pytest.fixture
def journal(database, clock):
    return Journal(database, clock=clock)


def counted(journal):
    return {(one.name, *one.labels.values()): one.value for one in journal.counters()}


def test_a_reason_that_is_not_agreed_changes_nothing(journal):
    number = journal.begin(1, 1, 1, 1, 10)
    before = counted(journal)
    with pytest.raises(ValueError, match="reasons"):
        journal.end(number, "completed", refused={"played too much folk": 1})
    with pytest.raises(ValueError, match="reason"):
        journal.count("refused", {"reason": "song"})
    with pytest.raises(ValueError, match="only rises"):
        journal.end(number, "completed", bytes_up=-1)
    assert journal.rounds()[0].outcome is None
    assert counted(journal) == before
    assert set(REFUSALS) < set(REASONS)


def test_a_round_is_counted_once(journal):
    number = journal.begin(1, 1, 1, 1, 10)
    journal.end(number, "completed", answered=8)
    with pytest.raises(ServerError, match="has ended"):
        journal.end(number, "completed", answered=8)
    with pytest.raises(ServerError, match="has ended"):
        journal.phase(number, "training")
    with pytest.raises(ServerError, match="never began"):
        journal.end(99, "completed")
    assert counted(journal)["replies",] == 8


def test_a_round_that_a_kill_left_open_is_ended_as_interrupted(journal, clock):
    journal.begin(1, 1, 1, 1, 10)
    clock.now += 60
    journal.begin(1, 1, 2, 2, 12)
    second, first = journal.rounds()
    assert (first.outcome, first.ended_at, second.outcome) == ("interrupted", clock.now, None)
    assert counted(journal) == {("rounds", "interrupted"): 1, ("invited",): 22}


def test_a_round_is_kept_as_it_was_told(journal, clock):
    number = journal.begin(3, 2, 1, 77, 10)
    journal.phase(number, "collecting")
    assert journal.rounds(1)[0].phase == "collecting"
    clock.now += 5
    journal.end(number, "completed", 6, {"declined": 1, "shape": 2}, 1, 0, 600, 900, {"collecting": 4.5})
    (one,) = journal.rounds()
    assert (one.training, one.round_number, one.attempt, one.serial, one.invited, one.answered) == (3, 2, 1, 77, 10, 6)
    assert (one.refused, one.dropped, one.late) == ({"declined": 1, "shape": 2}, 1, 0)
    assert (one.bytes_up, one.bytes_down, one.seconds) == (600, 900, {"collecting": 4.5})
    assert one.ended_at - one.began_at == 5
    assert counted(journal) == {
        ("rounds", "completed"): 1,
        ("invited",): 10,
        ("replies",): 6,
        ("refused", "declined"): 1,
        ("refused", "shape"): 2,
        ("dropped",): 1,
        ("late",): 0,
        ("bytes", "up"): 600,
        ("bytes", "down"): 900,
        ("seconds", "collecting"): 4.5,
    }


def test_the_last_rounds_come_first_and_no_more_than_asked(journal):
    for number in range(1, 6):
        journal.end(journal.begin(1, number, 1, number, 3), "completed")
    assert [one.round_number for one in journal.rounds(2)] == [5, 4]


def test_counters_do_not_depend_on_the_order_of_labels_and_outlive_the_process(journal, database):
    journal.count("seen", {"a": "1", "b": "2"})
    journal.count("seen", {"b": "2", "a": "1"}, 2)
    journal.count("seen", None, 0.5)
    with Database(database.path) as other:
        found = Journal(other).counters()
    assert [(one.labels, one.value) for one in found] == [({"a": "1", "b": "2"}, 3), ({}, 0.5)]


def test_many_are_counted_in_one_transaction_or_none(journal):
    journal.count_all([Counter("refused", {"reason": "shape"}, 2), Counter("refused", {"reason": "shape"}, 1)])
    with pytest.raises(ValueError, match="reason"):
        journal.count_all([Counter("seen", {}, 1), Counter("refused", {"reason": "song"}, 1)])
    assert counted(journal) == {("refused", "shape"): 3}


def test_the_state_says_since_when_and_only_what_was_agreed(journal, clock):
    assert journal.state().state == "idle"
    clock.now += 5
    journal.say("gathering", "3 of 5 devices are there")
    clock.now += 5
    journal.say("gathering", "4 of 5 devices are there")
    assert journal.state() == Condition("gathering", "4 of 5 devices are there", int(clock.now) - 5)
    with pytest.raises(ValueError, match="idle, gathering"):
        journal.say("dancing")


def test_the_bell_only_rises_for_all_processes(journal, database):
    assert journal.bell() == 0
    assert journal.ring() == 1
    journal.say("training")
    with Database(database.path) as other:
        assert Journal(other).ring() == 2
    assert journal.bell() == 2


def test_the_operator_s_acts_are_kept_in_order(journal):
    journal.event("enrol", "issued a token")
    journal.event("revoke", "device 3")
    assert [(one.kind, one.words) for one in journal.events()] == [("revoke", "device 3"), ("enrol", "issued a token")]
    assert [one.kind for one in journal.events(1)] == ["revoke"]
