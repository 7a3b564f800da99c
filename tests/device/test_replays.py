"""What a server may say once, and what survives that a device leaves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedpersona.device.device import Device
from fedpersona.errors import PlanReplayed
from tests.device.test_enrolment import ADDRESS, INVITATION, Office


@pytest.fixture
def enrolments(device):
    return device.enrolments


def test_a_serial_is_taken_once_and_only_upwards(device, tmp_path):
    device.enrolments.enrol(INVITATION, Office())
    assert device.enrolments.replays.last_serial(ADDRESS) == 0
    device.enrolments.replays.accept_serial(ADDRESS, 5)
    device.close()
    with Device.open(tmp_path / "device") as again:
        for old in (5, 4, 0, -1, 2**63, True, 6.0, "6"):
            with pytest.raises(PlanReplayed):
                again.enrolments.replays.accept_serial(ADDRESS, old)
        assert again.enrolments.replays.last_serial(ADDRESS) == 5
        again.enrolments.replays.accept_serial(ADDRESS, 6)
        assert again.enrolments.replays.last_serial("https://other.example") == 0


def test_a_serial_belongs_to_the_transaction_around_it(device, enrolments):
    def undone():
        with device._store.writing():
            enrolments.replays.accept_serial(ADDRESS, 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    enrolments.replays.accept_serial(ADDRESS, 5)


def test_enrolling_again_makes_no_old_serial_new_but_another_operator_counts_anew(enrolments):
    enrolments.enrol(INVITATION, Office())
    enrolments.replays.accept_serial(ADDRESS, 9)
    enrolments.forget(ADDRESS)
    enrolments.enrol(INVITATION, Office())
    with pytest.raises(PlanReplayed):
        enrolments.replays.accept_serial(ADDRESS, 9)
    enrolments.forget(ADDRESS)
    enrolments.enrol(replace(INVITATION, operator=bytes(32)), Office())
    enrolments.replays.accept_serial(ADDRESS, 1)


def test_a_model_may_come_again_but_none_that_is_older(enrolments):
    enrolments.replays.accept_issue(ADDRESS, 100)
    enrolments.replays.accept_issue(ADDRESS, 100)
    with pytest.raises(PlanReplayed, match="older"):
        enrolments.replays.accept_issue(ADDRESS, 99)
    assert enrolments.replays.last_issue(ADDRESS) == 100


@pytest.mark.parametrize("form", ["fedpersona model 1", None])
def test_a_shared_model_that_an_earlier_version_kept_is_still_read(form, device):
    from fedpersona.device.files import keep_file
    from tests.device.servers import MODEL, shared
    from tests.taste.test_model_file import before

    with device._store.writing() as cursor:
        keep_file(cursor, "model", before(shared(), MODEL.model_dump(), form))
        keep_file(cursor, "model mark", b"of before")
    assert device.shelf.trained.shared.hash() == shared().hash()
