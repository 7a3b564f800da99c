"""kill -9 of every process, in every stage of a round, in one federation that learns the right model all the same."""

import os
import signal
import time
from collections import Counter

import numpy as np
import psutil
import pytest
from threadpoolctl import threadpool_limits

from fedpersona import Device, Policy
from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.trainings import Trainings
from fedpersona.device import starter
from fedpersona.privacy.clipping import clip
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import device_offsets
from fedpersona.simulation.practice import invent_crowd
from fedpersona.sources.listen import Listen
from fedpersona.taste.counters import counted, round_layout
from fedpersona.wire.message import word_type
from tests.serving import running, serving

DEVICES = 5  # a SuperLink has a third of a second's work for each device in each round, and there are twenty rounds
ROUNDS = 11  # one for each kill, one more in which the supervisor goes, and one to spare
KILLS = {
    "coordinator": ("gathering", "entering", "sharing", "updating", "agreeing", "unmasking"),
    "superlink": ("updating", "unmasking"),
    "front": ("sharing",),
}
"""In which stages each is killed. The coordinator alone knows what was asked and answered: it goes in all of them."""


@pytest.fixture
def devices(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    crowd, catalogue = invent_crowd(starter.catalogue(), DEVICES, seed=5), starter.catalogue()
    now = int(time.time())
    opened = []
    for number in range(DEVICES):
        device = Device.open(tmp_path / f"device {number}", passphrase="of a test")
        device.vault.add(
            Listen(title=catalogue.titles[row], artist=catalogue.artists[row], played_at=now - 60 - 3600 * place)
            for place, row in enumerate(crowd.plays(number).items)
        )
        device.policy = Policy(least_cohort=2, most_rounds_a_day=1000)
        opened.append(device)
    yield opened
    for device in opened:
        device.close()


def process_of(served, name: str) -> psutil.Process | None:
    """Find a process of the server by what it runs."""
    wanted = {"coordinator": "flwr-serverapp", "superlink": "flower-superlink", "front": "fedpersona.aggregation.front"}
    for child in psutil.Process(served.process.pid).children(recursive=True):
        try:
            line = child.cmdline()
        except psutil.Error:
            continue
        if any(wanted[name] in word for word in line[:4]) and not any("tether" in word for word in line):
            return child
    return None


def stage_of(journal: Journal) -> str:
    state = journal.state().state
    if state != "training":
        return state
    (record,) = journal.rounds(limit=1)
    return record.phase if record.ended_at is None else "between"


def lives(process: psutil.Process | None) -> bool:
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_in(served, journal: Journal, process: str, stage: str) -> None:
    """Wait for the stage, then kill the process at once: it was found before, for a stage is soon over."""
    deadline = time.monotonic() + 120
    found = None
    while time.monotonic() < deadline:
        if not lives(found):
            found = process_of(served, process)
        if found is not None and stage_of(journal) == stage and lives(found):
            found.kill()
            return
        time.sleep(0.02)  # looking itself costs the processes that it waits for
    raise AssertionError(f"the stage {stage} did not come\n{served.logs()}")


def completed(journal: Journal) -> int:
    return max((record.round_number for record in journal.rounds(1000) if record.outcome == "completed"), default=0)


def test_every_process_is_killed_in_every_stage_and_the_model_is_the_right_one(tmp_path, devices):
    with (
        serving(
            tmp_path,
            settings={"rounds": ROUNDS, "dim": 4},
            rounds__min_count=DEVICES,
            rounds__wait_for=DEVICES,
            rounds__cohort=DEVICES,
            rounds__deadline_seconds=15,
            rounds__gather_seconds=120,
            rounds__attempts=50,
        ) as served,
        Database.open(served.config.database) as database,
    ):
        journal = Journal(database)
        for device, invitation in zip(devices, served.invite(DEVICES), strict=True):
            device.enrol(invitation)
            device.consent.grant("share_update", server=served.address)
            device.join(served.address, wait=0)
        for process, stages in KILLS.items():
            for stage in stages:
                before = completed(journal)
                kill_in(served, journal, process, stage)
                served.until(
                    lambda at=before: completed(journal) > at, 150, f"a round after killing {process} in {stage}"
                )
        config = served.config
        os.kill(served.process.pid, signal.SIGKILL)  # the supervisor, and all it started goes with it
        served.process.wait()
    with running(config) as served, Database.open(config.database) as database:
        models = Registry(database, config.models)
        served.until(lambda: models.promoted() is not None, 240, "a promoted model")
        version, journal = models.promoted(), Journal(database)
        (training,) = Trainings(database, config.models).all()
        rounds = journal.rounds(1000)
    assert version is not None
    assert training.outcome == "finished"
    assert learned_undisturbed(config, devices, training.seed) == version.hash

    done = Counter(record.round_number for record in rounds if record.outcome == "completed")
    serials = [record.serial for record in rounds]
    assert set(done) <= set(range(1, ROUNDS + 1))
    assert max(done.values()) == 1  # nothing counted twice
    assert len(set(serials)) == len(serials)  # no plan reused
    assert serials == sorted(serials, reverse=True)
    for device in devices:
        device.ledger.verify()


class Undisturbed:
    """Adds up what the same devices contribute, in this process."""

    def __init__(self, model, plays, catalogue) -> None:
        self.model, self.plays, self.catalogue = model, plays, catalogue

    def collect(self, plan, shared):
        fixed_point = FixedPoint(round_layout(self.model, self.catalogue, plan), plan.cohort, plan.ring_bits)
        total = np.zeros(fixed_point.layout.size, word_type(plan.ring_bits))
        rng = np.random.default_rng(0)
        with threadpool_limits(1):
            for plays in self.plays:
                update = self.model.contribute(shared, self.model.personalise(shared, plays), plays, rng)
                update = counted(update, plan, self.model, shared, plays)
                update, _ = clip(update, fixed_point.layout, plan.clip)
                total += fixed_point.encode_words(update, device_offsets(plan, fixed_point.layout, plays))
        return fixed_point.decode_words(total), len(self.plays)


def learned_undisturbed(config, devices, seed: int) -> str:
    """Return the hash of the model that the same histories give when nothing happens."""
    catalogue, model = starter.catalogue(), config.model.create()
    collector = Undisturbed(model, [device.plays() for device in devices], catalogue)
    rounds = config.rounds
    coordinator = Coordinator(
        model, catalogue, collector, cohort=rounds.cohort, min_count=rounds.min_count, seed=seed, clip=rounds.clip
    )
    for _ in coordinator.run():
        pass
    return coordinator.shared.hash()
