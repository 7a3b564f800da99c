"""What left is written down first, in words, and for good; what may have left is not called unsent."""

import json
from dataclasses import replace

import pytest

from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.clock import Clock
from fedpersona.device.ledger import Ledger, update_words
from fedpersona.device.ledger_entry import plain, size_words
from fedpersona.device.store import Store
from fedpersona.errors import ChainBroken, PlanRefused
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan
from tests.device.machine import Wall

START = 1_790_000_000
DAY = 86_400
SERVER = "https://taste.example"
OTHER = "https://other.example"
LAYOUT = Layout((ArraySpec("sum", (64, 4607), 1.0),))
PLAN = Plan(
    model="subspace", round_number=1, cohort=200, min_count=100, ring_bits=32, seed=1, run="a", clip=64.0, masked=True
)


@pytest.fixture
def wall():
    return Wall(START)


def ledger_of(store, wall) -> Ledger:
    return Ledger(store, Chain(store, "ledger", signing_key(store)), Clock(store, wall))


@pytest.fixture
def ledger(store, wall):
    return ledger_of(store, wall)


def send(ledger, *, server=SERVER, **changes):
    return ledger.sending(
        server=server,
        purpose="share_update",
        plan=replace(PLAN, **changes),
        layout=LAYOUT,
        size=1_179_500,
        digest="ab" * 32,
        norm=12.5,
    )


def test_an_empty_ledger_says_that_nothing_left(ledger):
    assert str(ledger.tail()) == "nothing has left this device"
    assert ledger.tail() == ()
    assert ledger.contributions() == ()
    assert ledger.rounds_within(DAY) == 0
    assert ledger.seconds_since_another_run(SERVER, "a") is None
    assert ledger.verify() == 0
    assert ledger.export() == []


def test_an_entry_is_on_disk_before_anything_is_sent(ledger, tmp_path, wall):
    send(ledger)
    other = Store(tmp_path / "vault.db", bytes(32))
    (entry,) = ledger_of(other, wall).tail()
    other.close()
    assert (entry.at, entry.server, entry.purpose) == (START, SERVER, "share_update")
    assert (entry.model, entry.round_number, entry.run, entry.plan_hash) == ("subspace", 1, "a", PLAN.hash())
    assert (entry.clip, entry.norm, entry.epsilon, entry.masked) == (64.0, 12.5, None, True)
    assert (entry.size, entry.digest) == (1_179_500, "ab" * 32)
    assert entry.what == "64 × 4,607 numbers, masked, 1.2 MB"


def test_where_a_crash_came_in_between_it_may_have_left(ledger):
    send(ledger)
    (entry,) = ledger.tail()
    assert entry.outcome == "unknown"
    assert entry.left
    assert "may have left for https://taste.example" in str(entry)


def test_what_became_of_it_is_told_with_it(ledger):
    ledger.delivered(send(ledger))
    ledger.destroyed(send(ledger, round_number=2), reason="share_update for x: you took your yes back")
    assert str(ledger.tail()).splitlines() == [
        "2026-09-21 14:13 UTC  sent to https://taste.example: round 1 (subspace), "
        "64 × 4,607 numbers, masked, 1.2 MB, with keys and shares of its masks; length at most 64, "
        "no differential privacy; at worst, at δ 0.000001: in all unlimited (1 round without noise)",
        "2026-09-21 14:13 UTC  destroyed, not sent to https://taste.example: round 2 (subspace), "
        "64 × 4,607 numbers, masked, 1.2 MB; length at most 64, no differential privacy; "
        "share_update for x: you took your yes back",
    ]
    assert ledger.verify() == 4
    assert ledger.count("sent") == len(ledger.contributions()) == 1


def test_every_kind_reads_as_a_line(ledger):
    ledger.received(server=SERVER, what="catalogue of 3,706 artists", size=81_234)
    ledger.refused(server=SERVER, purpose="share_update", plan=PLAN, reason="least_cohort: too few")
    ledger.refused(server=SERVER, purpose="share_update", plan=None, reason="you said no")
    ledger.imported(what="812 listens")
    ledger.exported(what="everything kept here")
    assert [line.split("  ", 1)[1] for line in str(ledger.tail()).splitlines()] == [
        "received from https://taste.example: catalogue of 3,706 artists, 81.2 kB",
        "refused round 1 (subspace) of https://taste.example: least_cohort: too few",
        "refused https://taste.example: you said no",
        "imported: 812 listens",
        "exported: everything kept here",
    ]
    assert ledger.contributions() == ()
    assert [ledger.count(kind) for kind in ("sent", "refused", "received")] == [0, 2, 1]


def test_the_tail_is_the_last_entries_oldest_first(ledger):
    for number in range(1, 6):
        ledger.delivered(send(ledger, round_number=number))
    assert [entry.round_number for entry in ledger.tail(2)] == [4, 5]
    assert len(ledger.tail(100)) == 5
    assert ledger.tail(0) == ()


def test_a_round_that_shortens_nothing_says_so(ledger):
    send(ledger, clip=None, masked=False)
    line = str(ledger.tail())
    assert "not shortened to a limit" in line
    assert "no differential privacy" in line
    assert "ε" not in line
    assert "not masked" in line


def test_no_plan_is_answered_twice_but_one_that_was_destroyed_before_it_was_sent(ledger):
    entry = send(ledger)
    with pytest.raises(PlanRefused, match="twice"):
        send(ledger)
    ledger.destroyed(entry, reason="withdrawn")
    ledger.delivered(send(ledger))
    with pytest.raises(PlanRefused):
        send(ledger)
    send(ledger, server=OTHER)
    send(ledger, seed=2)
    assert ledger.verify() == 6


def test_what_was_delivered_stays_so_whatever_is_written_after_it(ledger):
    entry = send(ledger)
    ledger.delivered(entry)
    ledger.destroyed(entry, reason="withdrawn")
    (told,) = ledger.tail()
    assert (told.outcome, told.left, told.reason) == ("delivered", True, None)
    with pytest.raises(PlanRefused, match="twice"):
        send(ledger)


def test_rounds_and_runs_are_counted_by_the_clock(ledger, wall):
    send(ledger)
    wall.at += 3600
    send(ledger, round_number=2)
    send(ledger, server=OTHER, run="b")
    assert ledger.rounds_within(DAY) == 3
    assert ledger.rounds_within(3600) == 2
    assert ledger.seconds_since_another_run(SERVER, "a") is None
    assert ledger.seconds_since_another_run(SERVER, "c") == 0
    wall.at += 100
    assert ledger.seconds_since_another_run(SERVER, "c") == 100


def test_a_clock_set_back_or_forth_does_not_shorten_the_spacing(ledger, wall):
    send(ledger)
    wall.at -= 10 * DAY
    assert ledger.rounds_within(DAY) == 1
    assert ledger.seconds_since_another_run(SERVER, "b") == 0
    wall.at += 10 * DAY + 50
    assert ledger.seconds_since_another_run(SERVER, "b") == 50


def test_a_servers_words_steer_no_terminal(ledger):
    ledger.refused(server=SERVER, purpose="share_update", plan=None, reason="\x1b[2Junknown\nmodel\u202e" + "x" * 9999)
    line = str(ledger.tail())
    assert line.isprintable()
    assert len(line) < 600
    assert plain("Motörhead, 椎名林檎") == "Motörhead, 椎名林檎"
    assert plain("\ud800") == "\ufffd"


def test_a_changed_ledger_stops_sends_but_not_the_owners_export(store, ledger, wall):
    ledger.delivered(send(ledger))
    with store.writing() as cursor:
        cursor.execute("UPDATE chain SET body = replace(body, '\"size\":1179500', '\"size\":1') WHERE number = 1")
    again = ledger_of(store, wall)
    for look in (again.verify, again.tail, again.contributions, lambda: send(again, round_number=2)):
        with pytest.raises(ChainBroken, match="ledger: entry 1 was changed"):
            look()
    assert len(again.export()) == 2


def test_a_ledger_whose_end_is_cut_takes_no_note_of_an_export_and_does_not_stop_it(store, ledger, wall):
    ledger.delivered(send(ledger))
    with store.writing() as cursor:
        cursor.execute("DELETE FROM chain WHERE number = 2")
    again = ledger_of(store, wall)
    assert again.exported(what="everything") is None
    assert again.imported(what="1 listen") is None
    assert len(again.export()) == 1


def test_an_export_is_json(ledger):
    ledger.delivered(send(ledger))
    rows = ledger.export()
    assert json.loads(json.dumps(rows)) == rows
    assert [row["body"]["kind"] for row in rows] == ["sent", "delivered"]


@pytest.mark.parametrize(
    ("shapes", "size", "words"),
    [
        (((64, 4607),), 1_179_500, "64 × 4,607 numbers, masked, 1.2 MB"),
        (((4607,),), 18_428, "4,607 numbers, masked, 18.4 kB"),
        (((64, 10), (10,)), 2600, "64 × 10 and 10 numbers, masked, 2.6 kB"),
        (((2,), (3,), (4,)), 36, "2, 3 and 4 numbers, masked, 36 bytes"),
        (((2,), (3,), (4,), (5000,)), 36, "5,009 numbers, masked, 36 bytes"),
        (((),), 4, "1 numbers, masked, 4 bytes"),
    ],
)
def test_an_update_in_words(shapes, size, words):
    layout = Layout(tuple(ArraySpec(f"a{place}", shape, 1.0) for place, shape in enumerate(shapes)))
    assert update_words(layout, size, masked=True) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (2_500_000_000, "2.5 GB")],
)
def test_a_size_in_words(size, words):
    assert size_words(size) == words
