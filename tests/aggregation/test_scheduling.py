from types import SimpleNamespace

import pytest

from fedpersona.aggregation.scheduling import Devices, History, due, next_look, wait_after

DAY = 86_400
NOW = 2_000_000_000
NEVER = History(running=False, finished=0, finished_at=None)


def config(kind="standing", wait_for=5, every_days=7, new_devices=None):
    return SimpleNamespace(
        schedule=SimpleNamespace(kind=kind, every_days=every_days, new_devices=new_devices),
        rounds=SimpleNamespace(wait_for=wait_for),
    )


def finished(ago, **changes):
    return History(running=False, finished=1, finished_at=NOW - ago, **changes)


@pytest.mark.parametrize("kind", ["one-shot", "standing"])
def test_the_first_training_waits_for_enough_devices(kind):
    assert not due(config(kind), NOW, NEVER, Devices(4))
    assert due(config(kind), NOW, NEVER, Devices(5))


def test_a_one_shot_federation_is_idle_after_one_training():
    assert not due(config("one-shot", new_devices=1), NOW, finished(1000 * DAY), Devices(100, 95))


def test_an_interrupted_training_is_due_however_few_devices_are_left():
    history = History(running=True, finished=3, finished_at=NOW - 5)
    assert due(config("one-shot"), NOW, history, Devices(0))
    assert due(config("standing"), NOW, history, Devices(0))


def test_a_standing_federation_learns_again_after_its_days():
    assert not due(config(), NOW, finished(7 * DAY - 1), Devices(5))
    assert due(config(), NOW, finished(7 * DAY), Devices(5))
    assert not due(config(), NOW, finished(7 * DAY), Devices(4))


def test_a_standing_federation_learns_earlier_as_enough_new_devices_came():
    assert not due(config(new_devices=3), NOW, finished(DAY), Devices(10, 2))
    assert due(config(new_devices=3), NOW, finished(DAY), Devices(10, 3))
    assert not due(config(new_devices=None), NOW, finished(DAY), Devices(10, 9))


def test_waits_after_failures_double_from_a_minute_to_an_hour():
    waits = [wait_after(failures) for failures in (0, 1, 2, 3, 6, 7, 10**9)]
    assert waits == [0, 60, 120, 240, 1920, 3600, 3600]


@pytest.mark.parametrize("running", [True, False])
def test_nothing_is_due_until_the_wait_after_failures_is_over(running):
    def history(ago):
        return History(running, 0, None, failures=2, failed_at=NOW - ago)

    assert not due(config(), NOW, history(119), Devices(5))
    assert due(config(), NOW, history(120), Devices(5))


def test_a_clock_that_was_years_ahead_holds_nothing_back():
    assert due(config(), NOW, finished(-3000 * DAY), Devices(5))
    assert due(config(), NOW, History(True, 0, None, failures=9, failed_at=NOW + 3000 * DAY), Devices(5))


def test_a_clock_that_was_a_day_ahead_starts_nothing_early():
    assert not due(config(), NOW, finished(-DAY), Devices(5))


def test_the_next_look_is_when_something_may_have_changed():
    assert next_look(config(), NOW, NEVER, Devices(5)) == 0
    assert next_look(config(), NOW, NEVER, Devices(4)) == 2  # devices may enrol at any time
    assert next_look(config("one-shot"), NOW, finished(0), Devices(5)) == 2
    assert next_look(config(), NOW, finished(7 * DAY - 1.5), Devices(5)) == 1.5
    assert next_look(config(), NOW, History(True, 0, None, 1, NOW - 59.5), Devices(5)) == 1


def test_the_next_look_never_spins_and_never_sleeps_past_a_due_training():
    for ago in range(0, 130, 7):
        history = History(True, 0, None, failures=2, failed_at=NOW - ago)
        wait = next_look(config(), NOW, history, Devices(5))
        assert (wait == 0) == due(config(), NOW, history, Devices(5))
        assert wait == 0 or 1 <= wait <= 30
