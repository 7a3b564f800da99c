"""One population, one seed, one plan: simulation, grid and a real deployment learn the same model, to the bit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedpersona.aggregation.certificates import operator_public
from fedpersona.aggregation.config import RoundsConfig, ServerConfig
from fedpersona.aggregation.coordinator import Collector, Coordinator
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.grid_collector import GridCollector, Pace
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.trainings import Trainings
from fedpersona.catalogue import Catalogue
from fedpersona.device.device import Device
from fedpersona.device.policy import Policy
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.clientapp import simulated_app
from fedpersona.simulation.engine import CohortEngine, DeviceEngine
from fedpersona.simulation.local_grid import LocalGrid
from fedpersona.simulation.population import Population
from fedpersona.simulation.practice import invent_crowd
from fedpersona.simulation.simulated_device import SimulatedDevice, operator_key, signing_key
from fedpersona.sources.listen import Listen
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import pack, unpack
from fedpersona.wire.signed_release import unseal_release
from tests.serving import Served, serving

SETTINGS = {"dim": 16, "rounds": 2}
PATIENCE = 300.0


@dataclass(frozen=True)
class Deployed:
    """What a real deployment learned, and from whom."""

    config: ServerConfig
    people: Population
    seed: int
    shared: Shared
    answered: list[int]
    on_devices: set[str]
    """Hashes of the models that the devices now use."""


@pytest.fixture
def unlocked(monkeypatch):
    monkeypatch.setenv("FEDPERSONA_PASSPHRASE", "of a test")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


@pytest.mark.parametrize(("people", "masked"), [(8, False), (5, True)])
def test_simulation_grid_and_deployment_learn_the_same_model(people, masked, tmp_path, unlocked):
    deployed = deploy(tmp_path, people, masked=masked)
    rounds = deployed.config.rounds
    found = {
        "one by one": learned(deployed, device_engine(deployed)),
        "grid": learned(deployed, grid(deployed)),
        # The fast form has no clipping of whole updates. None of these is that long, so it must not matter, and sums
        # of integers have no tolerance: it is 0 bits.
        "fast form": learned(deployed, cohort_engine(deployed), clip=None),
    }
    assert learned(deployed, device_engine(deployed), clip=None).hash() == found["one by one"].hash()
    assert {name: shared.hash() for name, shared in found.items()} == dict.fromkeys(found, deployed.shared.hash())
    assert deployed.on_devices == {deployed.shared.hash()}
    assert deployed.answered == [people] * SETTINGS["rounds"]
    assert (rounds.masked, rounds.clip) == (masked, 64.0)
    assert deployed.shared["listeners"].sum() > 0


# -- (a), (b), (c): one process --


def learned(deployed: Deployed, collector: Collector, clip: float | None = 64.0) -> Shared:
    """Train on what the devices of the deployment hold, with its plan."""
    rounds: RoundsConfig = deployed.config.rounds
    coordinator = Coordinator(
        deployed.config.model.create(),
        deployed.people.catalogue,
        collector,
        cohort=rounds.cohort,
        min_count=rounds.min_count,
        seed=deployed.seed,
        clip=clip,
        masked=rounds.masked and isinstance(collector, GridCollector),
    )
    for report in coordinator.run():
        assert report.answered == len(deployed.people)
    return coordinator.shared


def device_engine(deployed: Deployed) -> Collector:
    return DeviceEngine(deployed.config.model.create(), deployed.people, Behaviour())


def cohort_engine(deployed: Deployed) -> Collector:
    return CohortEngine(deployed.config.model.create(), deployed.people, Behaviour(), block=3)


def grid(deployed: Deployed) -> Collector:
    people, seed = deployed.people, 0
    model = deployed.config.model.create()
    app = simulated_app(lambda context: SimulatedDevice.of(people, int(context.node_config["partition-id"]), seed=seed))
    reached = LocalGrid.of_one_app(app, len(people))
    keys = {
        node: signing_key(seed, place).public_key().public_bytes_raw()
        for place, node in enumerate(reached.get_node_ids())
    }
    return GridCollector(
        reached,
        lambda plan: round_layout(model, people.catalogue, plan),
        key=operator_key(seed),
        enrolled=lambda: keys,
        pace=Pace(len(people), 1.0, 5.0),
        model_bytes=lambda shared: pack(shared, model.model_dump(mode="json")),
    )


# -- (d): a server, devices, TLS --


def deploy(tmp_path: Path, people: int, *, masked: bool) -> Deployed:
    """Let real devices with vaults of their own train over a real server."""
    catalogue = a_catalogue()
    with (
        serving(
            tmp_path,
            catalogue=catalogue,
            settings=SETTINGS,
            rounds__masked=masked,
            rounds__cohort=people,
            rounds__min_count=people,
            rounds__wait_for=people,
            rounds__gather_seconds=PATIENCE,
            rounds__deadline_seconds=PATIENCE,
        ) as served,
        owned(tmp_path / "devices", catalogue, people) as devices,
    ):
        for device, invitation in zip(devices, served.invite(people), strict=True):
            device.policy = Policy(allow_unmasked=not masked, least_cohort=2)
            device.enrol(invitation)
            device.consent.grant("share_update", server=served.address)
        for device in devices:
            device.join(served.address, wait=0)
        served.until(
            lambda: all(device.status()["shared_model"] for device in devices), PATIENCE, "a model on every device"
        )
        histories = population([device.vault.plays(catalogue) for device in devices], catalogue)
        on_devices = {device.shelf.trained.shared.hash() for device in devices}
        return remembered(served, histories, on_devices)


def remembered(served: Served, histories: Population, on_devices: set[str]) -> Deployed:
    """Read from the server's state what it trained with."""
    config = served.config
    with Database.open(config.database) as database:
        (training,) = Trainings(database, config.models).all()
        answered = Trainings(database, config.models).answered(training)
        sealed = Registry(database, config.models).release()
    assert (training.outcome, training.catalogue) == ("finished", histories.catalogue.version)
    _, packed = unseal_release(sealed, operator_public(config.server.signing_key), config.federation.name)
    return Deployed(config, histories, training.seed, unpack(packed)[0], answered, on_devices)


@contextmanager
def owned(folder: Path, catalogue: Catalogue, people: int) -> Iterator[list[Device]]:
    """Devices of invented people, each with a vault made from listens."""
    crowd = invent_crowd(catalogue, people, seed=4)
    now = int(time.time())
    with ExitStack() as stack:
        devices = []
        for person in range(people):
            device = stack.enter_context(Device.open(folder / str(person)))
            rows = crowd.plays(person).items
            device.vault.add(
                Listen(title=catalogue.titles[row], artist=catalogue.artists[row], played_at=now - 3600 * place - 60)
                for place, row in enumerate([*rows, *rows[: person + 1]])  # some of them again
            )
            devices.append(device)
        yield devices


def population(histories, catalogue: Catalogue) -> Population:
    """Put what the vaults hold into a table."""
    return Population.from_pairs(
        "vaults",
        catalogue,
        np.repeat(np.arange(len(histories)), [len(plays) for plays in histories]),
        np.concatenate([plays.items for plays in histories]),
        person_ids=np.arange(len(histories)),
        weights=np.concatenate([plays.weights for plays in histories]),
        times=np.concatenate([plays.last_played for plays in histories]),
    )


def a_catalogue(tracks: int = 240) -> Catalogue:
    numbers = range(tracks)
    return Catalogue.create(
        [f"track-{number}" for number in numbers],
        titles=[f"Song number {number}" for number in numbers],
        artists=[f"Band number {number // 4}" for number in numbers],
        tags=[(("folk", "techno", "jazz", "metal")[number % 4],) for number in numbers],
        kind="track",
    )
