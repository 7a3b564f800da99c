"""A server's folder and a crowd of simulated devices in this process, for what a coordinator has to bear."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.coordination import Coordination
from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.grid_collector import GridCollector, Pace
from fedpersona.aggregation.roster import Roster
from fedpersona.privacy.secagg import Parameters
from fedpersona.simulation.clientapp import simulated_app
from fedpersona.simulation.local_grid import LocalGrid
from fedpersona.simulation.simulated_device import SimulatedDevice, operator_key, signing_key
from fedpersona.taste import Subspace
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model_file import pack
from fedpersona.wire.signed_catalogue import seal
from fedpersona.wire.signed_plan import unseal_plan
from tests.conftest import invent
from tests.serving import new_server

SEED, PEOPLE, FIRST = 5, 12, 100  # FIRST: node id of the first device
MODEL = Subspace(dim=4, rounds=2)
CROWD = invent(PEOPLE)

KINDS = ("query.enter", "query.share", "train.update", "query.agree", "query.unmask")
"""The five exchanges of a secure sum."""

MASKS = Parameters(12, 7)
"""Each device has all others for neighbours, so these can spare any four of the twelve, and not five."""
SPARE = 4

Spoil = Callable[[Message, Message], Message]
"""What a lying device makes of its question and its honest answer."""

honest = simulated_app(lambda context: SimulatedDevice.of(CROWD, int(context.node_config["partition-id"]), seed=SEED))


def grid_of(app: Callable[[Message, Context], Message] = honest, **said: Any) -> LocalGrid:
    return LocalGrid.of_one_app(app, PEOPLE, **said)


def lying(spoil: Spoil, *kinds: str, liars: tuple[int, ...] = (FIRST,)) -> LocalGrid:
    """Return a grid on which some devices spoil their answers to some kinds of questions."""

    def node(message: Message, context: Context) -> Message:
        answer = honest(message, context)
        lies = context.node_id in liars and message.metadata.message_type in kinds
        return spoil(message, answer) if lies else answer

    return grid_of(node)


def plan_of(message: Message) -> str:
    """Return the hash of the plan that a question belongs to."""
    fields = message.content["parcel"]
    if "plan_hash" in fields:
        return str(fields["plan_hash"].decode())
    return unseal_plan(fields["plan"], operator_key(SEED).public_key().public_bytes_raw()).hash()


def keys_of(grid: LocalGrid) -> dict[int, bytes]:
    """Return the public keys that the devices of a grid enrolled with."""
    return {
        node: signing_key(SEED, place).public_key().public_bytes_raw() for place, node in enumerate(grid.get_node_ids())
    }


def coordinated(
    grid: LocalGrid,
    *,
    masked: bool = True,
    cohort: int = PEOPLE,
    least: int = 9,
    deadline: float = 0.3,
    linger: float = 0.1,
    enrolled: Callable[[], Mapping[int, bytes]] | None = None,
    masks: Parameters | None = None,
    **settings: Any,
) -> Coordinator:
    """Return a coordinator over a grid, whose plans have serials; its collector is ``.collector``."""
    collector = GridCollector(
        grid,
        lambda plan: round_layout(MODEL, CROWD.catalogue, plan),
        key=operator_key(SEED),
        enrolled=enrolled or (lambda: keys_of(grid)),
        pace=Pace(least, 0.1, deadline_seconds=deadline, linger_seconds=linger),
        model_bytes=lambda shared: pack(shared, MODEL.model_dump(mode="json")),
        **settings,
    )
    serials = itertools.count(1)
    return Coordinator(
        MODEL,
        CROWD.catalogue,
        collector,
        cohort=cohort,
        min_count=least,
        seed=SEED,
        clip=1.0,
        masked=masked,
        masks=masks,
        stamp=lambda plan: replace(plan, serial=next(serials)),
    )


def of_all_but(*gone: int) -> str:
    """Return the hash of the model that a round without masks learns where some devices, by node, never answer."""
    coordinator = coordinated(grid_of(drop=lambda node, message: node in gone), masked=False, least=1)
    assert coordinator.run_round().answered == PEOPLE - len(gone)
    return coordinator.shared.hash()


class Here(Coordination):
    """Sends the model inside its messages: simulated devices have no front to fetch it from."""

    def _collector(self, grid, model, catalogue, training):
        collector = super()._collector(grid, model, catalogue, training)
        collector._model_bytes = lambda shared: pack(shared, model.model_dump(mode="json"))
        return collector


def configured(folder: Path, *, dim: int = 4, catalogue=CROWD.catalogue, **changes: object) -> ServerConfig:
    """Make the folder of a server whose operator the simulated devices believe."""
    said = {"rounds__cohort": PEOPLE, "rounds__min_count": 9, "rounds__wait_for": 9, "rounds__clip": 1.0}
    quick = {
        "rounds__gather_seconds": 0.2,
        "rounds__deadline_seconds": 0.3,
        "rounds__linger_seconds": 0.1,
        "rounds__attempts": 3,
    }
    config = new_server(folder, catalogue=catalogue, settings={"dim": dim, "rounds": 2}, **{**said, **quick, **changes})
    key = operator_key(SEED)
    config.server.signing_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    publish(config, catalogue)
    return config


def publish(config: ServerConfig, catalogue) -> None:
    config.model.catalogue.write_bytes(seal(catalogue, issued=int(time.time()), key=operator_key(SEED)))


@contextmanager
def coordinating(config: ServerConfig, grid: LocalGrid, **said: Any) -> Iterator[Coordination]:
    """Give what trains on a server's folder; the devices of the grid are enrolled there."""
    with Database.open(config.database) as database:
        roster = Roster(database)
        known = {device.node_id for device in roster.devices()}
        for node, key in keys_of(grid).items():
            if node not in known:
                roster.attach(roster.enrol(roster.issue_token(1.0), _flower_key(), key).number, node)
        yield Here(config, database, **said)


def _flower_key() -> bytes:
    return (
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
