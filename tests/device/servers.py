"""Servers of a test's own process: an honest one with a small crowd, and one that lies as it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.device import starter
from fedpersona.device.link import Offer, Release
from fedpersona.errors import PlanRefused
from fedpersona.privacy.protection import Protection
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.practice import invent_crowd
from fedpersona.taste import Popularity, Shared, Subspace, TasteModel
from fedpersona.taste.counters import round_layout
from fedpersona.wire.parcel import sign_reply
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import seal
from tests.device.one_server import AGREE, ENTER, UPDATE, Fields, Lie, OneServer

SERVER = "https://taste.example"
MODEL = Subspace(dim=8, rounds=2)
KEY = Ed25519PrivateKey.generate()


@cache
def crowd(people: int = 60):
    return invent_crowd(starter.catalogue(), people)


def federation(people: int = 60, **settings) -> LocalFederation:
    """Return one of so many people and whoever comes; with fewer than 50 it is below the usual floors."""
    return LocalFederation(MODEL, crowd(people), **{"patience": 3.0, **settings})


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
            min_count=8,
            ring_bits=32,
            seed=1,
            run="a run",
            catalogue=starter.catalogue().version,
            shared_hash=shared().hash(),
            settings=tuple(sorted(MODEL.model_dump().items())),
            clip=64.0,
            epsilon=None,
            masked=True,
            neighbours=80,
            threshold=57,
        ),
        **changes,
    )


def noisy(
    model: TasteModel | None = None,
    *,
    noise: Literal["central", "distributed"] = "central",
    separation: int = 1,
    **changes,
) -> tuple[Plan, Shared]:
    """Return the plan of a round with noise, as an honest server makes it, and the model it starts from.

    Args:
        model: in its private form; by default popularity with noise that deviates by 4 units.
        noise: who adds it.
        separation: of the rounds that one device answers.
        changes: of the plan, for those that are not honest.
    """
    model = Popularity(noise=4.0) if model is None else model
    first = model.init(starter.catalogue(), 3)
    about = plan(model=model.name, settings=tuple(sorted(model.model_dump().items())), shared_hash=first.hash())
    about = replace(about, **{name: value for name, value in changes.items() if name == "metrics"})
    length = round_layout(model, starter.catalogue(), about).length
    terms = Protection(noise, epsilon=8.0, delta=1e-5, separation=separation).terms(model.name, length, model.noise)
    return replace(about, **{**terms, **changes}), first


def noisy_offer(
    model: TasteModel | None = None, *, noise: Literal["central", "distributed"] = "central", **changes
) -> Offer:
    asked, first = noisy(model, noise=noise, **changes)
    return Offer(asked.encode(), first)


class Scripted:
    """A link to a server that offers what a test tells it to, runs its round with a crowd, and keeps what comes in.

    Args:
        offered: the round that is open.
        before: is called before the device learns what it is asked; False keeps it waiting.
        lies: what is asked instead of what an honest server would, by what is asked.
        gone: how many of the crowd leave before an exchange.
        release: the finished model.
        catalogue: the signed catalogue.
    """

    busy = False
    patience = 0.25
    rest = None

    def __init__(
        self,
        *,
        offered: Offer | None = None,
        before: Callable[[str], bool | None] = lambda kind: None,
        lies: Mapping[str, Lie] | None = None,
        gone: Mapping[str, int] | None = None,
        release: Release | None = None,
        catalogue: bytes | None = None,
    ) -> None:
        self._plan: Plan | None = None
        self._offered = None if offered is None else self.opening(offered)
        self._before = before
        self._lies = lies
        self._gone = gone
        self._release = release
        self._catalogue = catalogue or sealed()
        self._key = Ed25519PrivateKey.generate()
        self.round: OneServer | None = None
        """The last that the device entered."""
        self.answers: list[tuple[str, bytes]] = []
        """All that was handed over beside the updates: what it answers, and the body."""
        self.messages: list[bytes] = []
        self.left = False
        self.refusals: list[str] = []

    def opening(self, offered: Offer) -> Offer:
        """Open a round, where the offer has a plan that can be read."""
        with suppress(PlanRefused):
            self._plan = Plan.decode(offered.plan)
        return offered

    def catalogue(self) -> bytes:
        return self._catalogue

    def release(self) -> Release | None:
        return self._release

    def offer(self, seconds: float) -> Offer | None:
        offered, self._offered = self._offered, None
        return offered

    @property
    def identity(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def question(self, kind: str, plan_hash: str, seconds: float) -> Fields | None:
        if self._before(kind) is False:
            time.sleep(seconds)
            return None
        assert self.round is not None
        assert self.round.hash == plan_hash
        return self.round.asks(kind)

    def answer(self, kind: str, plan_hash: str, body: bytes) -> None:
        self.answers.append((kind, bytes(body)))
        if kind == ENTER:
            assert self._plan is not None
            self.round = OneServer(self._plan, KEY, lies=self._lies, gone=self._gone)
            self.round.identity = self.identity
        assert self.round is not None
        signature = sign_reply(kind, plan_hash, body, self._key)
        self.round.takes(kind, b"" if kind == AGREE else bytes(body), signature)

    def send(self, message: bytes | bytearray) -> None:
        self.messages.append(bytes(message))
        if self.round is not None:
            self.round.takes(UPDATE, bytes(message), b"")

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
