"""What the front keeps in memory is read again when, and only when, the database changed; old news lets nobody in."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import structlog

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front import watch as watching
from fedpersona.aggregation.front.watch import Watch
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.errors import StateDamaged
from tests.aggregation.front.fronts import Device, fronting, new_server


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "fedpersona.db") as opened:
        yield opened


class CountingRoster(Roster):
    reads = 0

    def devices(self):
        self.reads += 1
        return super().devices()


def watch_of(database, roster=None) -> Watch:
    registry = Registry(database, database.path.parent / "models")
    log = structlog.get_logger()
    return Watch(database.path, roster or Roster(database), Journal(database), registry, log)


def test_nothing_is_read_while_nothing_changes(database):
    async def main() -> None:
        roster = CountingRoster(database)
        watch = watch_of(database, roster)
        async with watch.running():
            for _ in range(20):
                await watch.look()
            assert roster.reads == 1
            Journal(database).ring()
            await watch.look()
            assert (roster.reads, watch.picture.bell) == (2, 1)

    asyncio.run(main())


def test_enrolled_and_revoked_devices_are_told_apart(database):
    async def main() -> None:
        roster, devices = Roster(database), [Device(), Device()]
        for device in devices:
            roster.enrol(roster.issue_token(1), device.flower_key, device.signing_key)
        roster.revoke(1)
        watch = watch_of(database)
        async with watch.running():
            assert watch.picture.revoked == {devices[0].flower_key}
            assert watch.picture.allowed == {devices[1].flower_key}

    asyncio.run(main())


def test_before_the_first_look_nobody_is_let_in(database):
    async def main() -> None:
        watch = watch_of(database)
        assert not watch.fresh
        assert watch.picture.allowed == frozenset()

    asyncio.run(main())


def test_whoever_waits_is_woken_when_the_front_closes(database):
    async def main() -> float:
        watch = watch_of(database)
        async with watch.running():
            waiting = asyncio.create_task(watch.rung(0, 25.0))
            await asyncio.sleep(0.05)
            assert watch.waiting == 1
            begun = time.monotonic()
        await waiting
        return time.monotonic() - begun

    assert asyncio.run(main()) < 1.0


def test_a_state_that_cannot_be_read_is_named(tmp_path, database):
    async def main() -> None:
        watch = watch_of(database)
        watch._path = tmp_path / "none.db"
        with pytest.raises(StateDamaged, match="cannot be read"):
            await watch.look()
        assert not watch.fresh

    asyncio.run(main())


def test_a_state_that_can_no_longer_be_read_lets_no_device_through(tmp_path, monkeypatch):
    with fronting(new_server(tmp_path)) as front:
        device = front.enrol()

        def unreadable(_: Watch) -> None:
            raise StateDamaged("gone")

        monkeypatch.setattr(watching, "STALE_SECONDS", 0.3)
        monkeypatch.setattr(Watch, "_read", unreadable)
        time.sleep(0.6)
        answer = front.pull(device)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        log = (front.config.logs / "front.jsonl").read_text()
        assert log.count("state.unreadable") == 1
        monkeypatch.undo()
        time.sleep(0.5)
        assert "who takes part" not in front.pull(device).text


def test_a_look_that_is_under_way_when_the_front_closes_ends_before_the_file_is_closed(database, monkeypatch):
    """SQLite does not survive a connection that is closed in one thread and read in another."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
    reading, read = threading.Event(), []

    async def closed_in_the_middle() -> None:
        watch = watch_of(database)
        async with watch.running():
            look = watch._data_version

            def slowly() -> int:
                connection = watch._connection
                reading.set()
                time.sleep(0.3)
                assert watch._connection is connection, "it is still there"
                read.append(look())
                return read[-1]

            watch._data_version = slowly
            await asyncio.to_thread(reading.wait)
        assert watch._connection is None
        assert len(read) == 1

    asyncio.run(closed_in_the_middle())
