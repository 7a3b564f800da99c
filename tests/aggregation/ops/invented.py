"""A server that never was: its configuration, and a database with a training, rounds, devices and models in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.trainings import Trainings
from fedpersona.taste.model import Shared

STAGES = ("gathering", "entering", "sharing", "updating", "agreeing", "unmasking")
"""Of a secure sum, in their order."""

START = 1_795_384_800
"""22 November 2026, 22:00 UTC."""


def configured(folder: Path, **sections: dict[str, object]) -> ServerConfig:
    """Return the configuration of a server whose state is in a folder."""
    return ServerConfig(
        **{
            "federation": {
                "name": "Harbour Radio",
                "operator": "the Harbour Radio co-operative, Bristol",
                "contact": "privacy@harbour.example",
            },
            "model": {"name": "subspace", "catalogue": folder / "catalogue.fpc"},
            "rounds": {"cohort": 400, "min_count": 60},
            "schedule": {"kind": "standing", "every_days": 7, "new_devices": 50},
            **sections,
            "server": {
                "address": "https://taste.harbour.example",
                "state": folder,
                "superlink_authority": folder / "authority.pem",
                **sections.get("server", {}),
            },
        }
    )


class Clock:
    """A clock that goes on by a minute with each look."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        self.at += 60
        return self.at


def fill(config: ServerConfig, database: Database, *, trainings: int = 2, devices: int = 5) -> None:
    """Write some weeks of a federation's life: devices, one of them revoked, rounds, two of them failed, and models."""
    clock = Clock()
    roster = Roster(database, clock=clock)
    for _ in range(devices):
        roster.enrol(roster.issue_token(48.0), *_keys())
    if devices:
        roster.revoke(1)
    key = Ed25519PrivateKey.generate()
    registry = Registry(database, config.models, clock=clock)
    held = Trainings(database, config.models, clock=clock)
    for number in range(trainings):
        training = held.begin("subspace", {"dimensions": 4}, "catalogue-1", number)
        shared = Shared("subspace", "catalogue-1", 0, {"directions": np.full((3, 2), number, np.float32)})
        held.checkpoint(training, shared, 0)
        for answered in _rounds(Journal(database, clock=clock), training.id, number):
            shared = shared.next(directions=shared["directions"] + 1)
            held.checkpoint(training, shared, answered)
        version = registry.register(shared, {"dimensions": 4}, {"rounds": 4}, training)
        held.finish(training)
        registry.promote(version, key, config.federation.name)
        clock.at += 7 * 86_400


def _rounds(journal: Journal, training: int, number: int) -> Iterator[int]:
    stages = dict(zip(STAGES, (4.2, 9.8, 8.1, 21.5, 3.4, 5.6), strict=True))
    for place in range(1, 5):
        attempt = 1
        if place == 3:
            failed = journal.begin(training, place, 1, 100 * number + 90 + place, 372)
            journal.end(
                failed, "too few devices", answered=41, dropped=329, refused={"stale": 2}, seconds={"gathering": 4.0}
            )
            attempt = 2
        answered = 290 + 11 * place + 3 * number
        opened = journal.begin(training, place, attempt, 100 * number + place, 372)
        journal.phase(opened, "unmasking")
        journal.end(
            opened,
            "completed",
            answered=answered,
            refused={"declined": 6, "shape": 1},
            dropped=372 - answered - 10,
            late=3,
            bytes_up=answered * 2_130_000,
            bytes_down=372 * 1_065_000,
            seconds={stage: length + 0.3 * place for stage, length in stages.items()},
        )
        yield answered


def _keys() -> tuple[bytes, bytes]:
    flower = ec.generate_private_key(ec.SECP384R1()).public_key()
    signing = Ed25519PrivateKey.generate().public_key()
    return (
        flower.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        signing.public_bytes(Encoding.Raw, PublicFormat.Raw),
    )
