"""Servers of a test's own process: an honest one with a small crowd, and one that lies as it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device import starter
from fedpersona.device.link import Offer, Release
from fedpersona.privacy.masking import MaskKey
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.practice import invent_crowd
from fedpersona.taste import Shared, Subspace
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import seal

SERVER = "https://taste.example"
MODEL = Subspace(dim=8, rounds=2)
KEY = Ed25519PrivateKey.generate()


@cache
def crowd():
    return invent_crowd(starter.catalogue(), 60)


def federation(**settings) -> LocalFederation:
    return LocalFederation(MODEL, crowd(), **{"patience": 3.0, **settings})


@cache
def sealed() -> bytes:
    return seal(starter.catalogue(), issued=int(time.time()) - 60, key=KEY)


def shared() -> Shared:
    return MODEL.init(starter.catalogue(), 3)


def plan(**changes) -> Plan:
    return replace(
        Plan(
            model="subspace",
            round_number=1,
            cohort=200,
            min_count=100,
            ring_bits=32,
            seed=1,
            run="a run",
            catalogue=starter.catalogue().version,
            shared_hash=shared().hash(),
            settings=tuple(sorted(MODEL.model_dump().items())),
            clip=64.0,
            epsilon=None,
            masked=True,
        ),
        **changes,
    )


class Scripted:
    """A link to a server that offers what a test tells it to, and keeps what comes in."""

    busy = False
    patience = 0.25
    rest = None

    def __init__(
        self,
        *,
        offered: Offer | None = None,
        neighbours: tuple[bytes, ...] | None = None,
        before_send: Callable[[], None] = lambda: None,
        release: Release | None = None,
        catalogue: bytes | None = None,
    ) -> None:
        self._offered = offered
        self._neighbours = neighbours or tuple(MaskKey().public for _ in range(8))
        self._before_send = before_send
        self._release = release
        self._catalogue = catalogue or sealed()
        self.messages: list[bytes] = []
        self.entered: list[bytes] = []
        self.left = False
        self.refusals: list[str] = []

    def catalogue(self) -> bytes:
        return self._catalogue

    def release(self) -> Release | None:
        return self._release

    def offer(self, seconds: float) -> Offer | None:
        offered, self._offered = self._offered, None
        return offered

    def enter(self, plan_hash: str, public_key: bytes) -> None:
        self.entered.append(public_key)

    def neighbours(self, plan_hash: str, seconds: float) -> tuple[bytes, ...] | None:
        self._before_send()
        return self._neighbours

    def send(self, message: bytes) -> None:
        self.messages.append(bytes(message))

    def refuse(self, code: str) -> None:
        self.refusals.append(code)

    def pause(self) -> None:
        self.left = True

    def leave(self) -> None:
        self.left = True


def offer(**changes) -> Offer:
    return Offer(plan(**changes).encode(), shared())


def spoilt(array: str, value: float) -> Shared:
    arrays = {name: found.copy() for name, found in shared().arrays.items()}
    arrays[array].flat[0] = value
    return Shared("subspace", starter.catalogue().version, 0, arrays)


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32)
