"""What a person sees of a run: one bar that moves now and then, or a line every few seconds."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fedpersona.simulation import narration
from fedpersona.simulation.narration import Terminal, printable


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(narration.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def lines_of(clock, *, seconds, rounds=300, figure=None):
    """Tell of rounds to something that is no terminal; return the lines."""
    file = io.StringIO()
    terminal = Terminal(Console(file=file, width=200))
    with terminal:
        terminal.stage("reading synthetic")
        terminal.rounds("fedmf on 100 devices", 0, rounds, 0)
        for number in range(1, rounds + 1):
            clock.now += seconds
            terminal.progress(100, 100)
            terminal.rounds("fedmf on 100 devices", number, rounds, 100, figure)
        terminal.stage("measuring on test items")
    return file.getvalue().splitlines()


def test_hundreds_of_short_rounds_are_one_line(clock):
    assert lines_of(clock, seconds=0.001) == [
        "reading synthetic",
        "round 1 of 300: fedmf on 100 devices",
        "measuring on test items",
    ]


def test_of_a_long_training_there_is_a_line_every_few_seconds_with_pace_and_time_left(clock):
    lines = lines_of(clock, seconds=0.125, figure=0.0512)[2:-1]
    assert len(lines) == 7
    assert lines[0] == "round 40 of 300: fedmf on 100 devices; 780 devices/s, 0:33 left, NDCG@10 0.0512"


def test_long_rounds_are_told_of_from_inside(clock):
    file = io.StringIO()
    terminal = Terminal(Console(file=file, width=200))
    terminal.rounds("subspace on 4,000 devices", 0, 4, 0)
    for done in range(0, 4000, 500):
        clock.now += 2.0
        terminal.progress(done, 4000)
    assert file.getvalue().splitlines()[1:] == [
        "round 1 of 4: subspace on 4,000 devices; 1,000 of 4,000 devices",
        "round 1 of 4: subspace on 4,000 devices; 2,500 of 4,000 devices",
    ]


def test_a_training_that_goes_on_says_from_where(clock):
    file = io.StringIO()
    terminal = Terminal(Console(file=file, width=200))
    terminal.rounds("ials on 10 devices", 7, 9, 0)
    clock.now += 6.0
    terminal.rounds("ials on 10 devices", 8, 9, 60)
    assert file.getvalue().splitlines() == [
        "round 8 of 9: ials on 10 devices",
        "round 9 of 9: ials on 10 devices; 10 devices/s, 0:06 left",
    ]


def test_a_bar_is_moved_ten_times_a_second_at_most(clock, monkeypatch):
    terminal = Terminal(Console(file=io.StringIO(), force_terminal=True, width=100))
    moves = []
    monkeypatch.setattr(terminal._bar, "update", lambda task, **values: moves.append(values))
    terminal.rounds("fedmf on 100 devices", 0, 2000, 0)
    for number in range(1, 2001):
        clock.now += 0.001
        terminal.progress(50, 100)
        terminal.rounds("fedmf on 100 devices", number, 2000, 100)
    assert len(moves) <= 22
    assert moves[-1]["completed"] == moves[-1]["total"] == 2000


def test_a_terminal_shows_rounds_pace_time_left_and_the_latest_figure(clock):
    file = io.StringIO()
    terminal = Terminal(Console(file=file, force_terminal=True, width=120))
    with terminal:
        terminal.rounds("fedmf on 100 devices", 0, 400, 0)
        clock.now += 4.0
        terminal.rounds("fedmf on 100 devices", 100, 400, 10_000, 0.0512)
        terminal._bar.refresh()
    shown = file.getvalue()
    for words in ("fedmf on 100 devices", "100/400 rounds", "2,500 devices/s", "0:12 left", "NDCG@10 0.0512"):
        assert words in shown


def test_names_move_no_cursor(clock):
    file = io.StringIO()
    terminal = Terminal(Console(file=file, width=200))
    terminal.rounds("evil\x1b[2J on 3 devices", 0, 4, 0)
    terminal.note("note\x1b[2J")
    assert "\x1b" not in file.getvalue()
    assert printable("a\x1b") == "a\\x1b"


def test_an_hour_is_told_as_an_hour():
    assert [narration._clock(seconds) for seconds in (0.4, 61, 3725)] == ["0:00", "1:01", "1:02:05"]
