"""A whole federation in one process: a coordinator, a crowd of invented devices, and whichever real devices come.

A real device goes through its own gate; an invented one through the same functions without a vault. The server's
part sees masked updates only, and adds them up.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from threadpoolctl import threadpool_limits

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.device.link import Offer, Release, provide
from fedpersona.errors import CohortTooSmall, DevicesLeft, LayoutMismatch, RoundClosed, RoundFailed, WireError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.masking import MaskKey, circle
from fedpersona.privacy.rounding import device_offsets
from fedpersona.simulation.population import Population
from fedpersona.simulation.simulated_device import addend
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, decode, word_type
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import seal
from fedpersona.wire.update import Update

__all__ = ["LocalFederation"]

_ATTEMPTS = 3


class LocalFederation:
    """Trains one model over invented people and the real devices that join.

    Args:
        model: the taste model.
        crowd: the invented people, and the catalogue.
        key: the operator's signing key; a new one by default.
        seed: keys the initial model and the crowd's draws.
        clip: longest update of a device.
        min_count: fewest devices whose sum may be released; by default all of the crowd.
        patience: seconds a round waits for devices to come, and again for those that came to answer.
    """

    def __init__(
        self,
        model: TasteModel,
        crowd: Population,
        *,
        key: Ed25519PrivateKey | None = None,
        seed: int = 0,
        clip: float | None = 64.0,
        min_count: int | None = None,
        patience: float = 5.0,
    ) -> None:
        self.model = model
        self.crowd = crowd
        self.key = key or Ed25519PrivateKey.generate()
        self.seed = seed
        self.clip = clip
        self.min_count = min_count or len(crowd)
        self.patience = patience
        self.runs = 0
        self.busy = False
        """Whether a run is under way."""
        self.failure: str | None = None
        """Why the last run ended without a model, None where it did not."""
        self._changed = threading.Condition()
        self._present: set[LocalLink] = set()
        self._round: _Round | None = None
        self._release: Release | None = None
        self._training: threading.Thread | None = None
        self._sealed = seal(crowd.catalogue, issued=int(time.time()), key=self.key)

    @contextmanager
    def at(self, address: str) -> Iterator[LocalFederation]:
        """Answer at an address of this process."""
        with provide(address, lambda: LocalLink(self)):
            try:
                yield self
            finally:
                self.wait(self.patience * 2)

    def begin(self) -> None:
        """Start a training run in the background, unless one is under way."""
        with self._changed:
            if not self.busy:
                self.runs += 1
                self.busy = True
                self._training = threading.Thread(target=self._train, name="local federation", daemon=True)
                self._training.start()

    def wait(self, seconds: float) -> bool:
        """Wait until no run is under way; tell whether that is so."""
        training = self._training
        if training is not None:
            training.join(seconds)
        return training is None or not training.is_alive()

    def _train(self) -> None:
        running = Coordinator(
            self.model,
            self.crowd.catalogue,
            self,
            cohort=2 * len(self.crowd),
            min_count=self.min_count,
            seed=self.seed,
            clip=self.clip,
            masked=True,
            run=f"local {self.runs} {secrets.token_hex(4)}",  # another process's first run is another run
        )
        try:
            for _ in range(self.model.planned_rounds(self.crowd.catalogue)):
                self._run_round(running)
        except (RoundFailed, WireError) as error:
            self.failure = str(error)
        except BaseException as error:  # a bug of ours: whoever waits must not wait for ever
            self.failure = f"internal error: {type(error).__name__}"
            raise
        else:
            self.failure = None
            with self._changed:
                self._release = Release(self.model.name, self.model.model_dump(), running.shared)
        finally:
            with self._changed:
                self._round = None
                self.busy = False
                self._changed.notify_all()

    def _run_round(self, running: Coordinator) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            running.seed = self.seed + attempt - 1  # another plan of the same run: no plan is answered twice
            try:
                running.run_round()
            except CohortTooSmall:
                raise
            except RoundFailed:  # a device left when the roster was closed: begin again, with new keys
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def collect(self, plan: Plan, shared: Shared) -> tuple[Update, int]:
        """Ask who is there, close the roster, and add up what all of them hand over.

        Raises:
            CohortTooSmall: too few devices came.
            RoundFailed: a device of the roster did not answer; its masks cannot be taken out, nothing is released.
        """
        layout = self.model.layout(self.crowd.catalogue, plan.round_number)
        current = _Round(plan, shared)
        with self._changed:
            self._round = current
            self._changed.notify_all()
            self._wait_until(lambda: all(link.key(plan) for link in self._present))
            guests = [link for link in self._present if link.key(plan)]
            count = len(self.crowd) + len(guests)
            if count < plan.min_count:
                raise CohortTooSmall(plan.round_number, count, plan.min_count)
            keys = [MaskKey() for _ in range(len(self.crowd))]
            current.close([key.public for key in keys] + [link.key(plan) for link in guests])
            self._changed.notify_all()
        total = self._crowd_sum(current, keys, FixedPoint(layout, plan.cohort, plan.ring_bits))
        with self._changed:
            self._wait_until(lambda: not set(guests) - set(current.messages) - self._gone(guests))
            self._round = None
            missing = len(set(guests) - set(current.messages))
        if missing:
            raise DevicesLeft(plan.round_number, missing, count)
        for message in current.messages.values():
            np.add(total, _read(message, current, layout), out=total)
        return FixedPoint(layout, plan.cohort, plan.ring_bits).decode_words(total), count

    def _gone(self, guests: list[LocalLink]) -> set[LocalLink]:
        return {link for link in guests if link not in self._present}

    def _wait_until(self, done: object) -> None:
        self._changed.wait_for(done, self.patience)  # type: ignore[arg-type]

    def _crowd_sum(self, current: _Round, keys: list[MaskKey], fixed_point: FixedPoint) -> Words:
        plan, shared = current.plan, current.shared
        total: Words = np.zeros(fixed_point.layout.size, word_type(plan.ring_bits))
        with threadpool_limits(1):
            for device, key in enumerate(keys):
                plays = self.crowd.plays(device)
                update = addend(self.model, fixed_point.layout, plan, shared, plays, device=device)
                words = fixed_point.encode_words(update, device_offsets(plan, fixed_point.layout, plays))
                key.mask(words, current.neighbours(key.public), current.hash.encode())
                np.add(total, words, out=total)
        return total


def _read(message: bytes, current: _Round, layout: Layout) -> Words:
    try:
        return decode(message, plan_hash=current.hash, layout=layout, ring_bits=current.plan.ring_bits)
    except LayoutMismatch as error:
        raise RoundFailed(f"round {current.plan.round_number}: {error}; nothing was released") from None


@dataclass(eq=False)
class _Round:
    """An open round: who entered, who is whose neighbour, and what came in."""

    plan: Plan
    shared: Shared
    hash: str = field(init=False)
    roster: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    messages: dict[LocalLink, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hash = self.plan.hash()

    def close(self, keys: list[bytes]) -> None:
        """Close the roster: nobody enters any more."""
        self.roster = circle(keys)

    def neighbours(self, key: bytes) -> tuple[bytes, ...]:
        """Return the keys that the device with this one masks with."""
        return self.roster[key]


class LocalLink:
    """One device's link to a federation of its own process."""

    patience = 0.25
    rest = None

    def __init__(self, federation: LocalFederation) -> None:
        self._federation = federation
        self._keys: dict[str, bytes] = {}

    @property
    def busy(self) -> bool:
        """Whether a training run is under way."""
        return self._federation.busy

    def key(self, plan: Plan) -> bytes:
        """Return the key this device entered the round with, empty where it has not."""
        return self._keys.get(plan.hash(), b"")

    def catalogue(self) -> bytes:
        """Return the signed catalogue."""
        return self._federation._sealed

    def release(self) -> Release | None:
        """Return the last finished model, starting the federation's first run where there was none."""
        if self._federation.runs == 0:  # also for a device that takes no part
            self._federation.begin()
        return self._federation._release

    def offer(self, seconds: float) -> Offer | None:
        """Return the open round, starting the federation's first run where there was none."""
        federation = self._federation
        with federation._changed:
            federation._present.add(self)
            if federation.runs == 0:
                federation.begin()
            federation._changed.wait_for(lambda: self._open() or not federation.busy, seconds)
            current = self._open()
        return Offer(current.plan.encode(), current.shared) if current else None

    def _open(self) -> _Round | None:
        current = self._federation._round
        return current if current and not current.roster and current.hash not in self._keys else None

    def enter(self, plan_hash: str, public_key: bytes) -> None:
        """Enter the open round."""
        federation = self._federation
        with federation._changed:
            current = federation._round
            if current is None or current.hash != plan_hash or current.roster:
                raise RoundClosed("the round has begun without this device")
            self._keys[plan_hash] = public_key
            federation._changed.notify_all()

    def neighbours(self, plan_hash: str, seconds: float) -> tuple[bytes, ...] | None:
        """Return the keys to mask with, once the roster is closed."""
        federation = self._federation
        with federation._changed:
            federation._changed.wait_for(lambda: federation._round is None or federation._round.roster, seconds)
            current = federation._round
            if current is None or current.hash != plan_hash:
                raise RoundClosed("the server gave the round up")
            return current.neighbours(self._keys[plan_hash]) if current.roster else None

    def send(self, message: bytes | bytearray) -> None:
        """Hand the masked update over."""
        federation = self._federation
        with federation._changed:
            if federation._round is None:
                raise RoundClosed("the server gave the round up")
            federation._round.messages[self] = bytes(message)
            federation._changed.notify_all()

    def refuse(self, code: str) -> None:
        """Nobody is told: who is asked and does not answer has left the round."""

    def pause(self) -> None:
        """Take no further part."""
        self.leave()

    def leave(self) -> None:
        """Take no further part."""
        with self._federation._changed:
            self._federation._present.discard(self)
            self._federation._changed.notify_all()
