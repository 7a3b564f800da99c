"""What a simulated device keeps between two messages of a secure sum, as a real device never does.

Under Flower's runtime each message may be answered by another process. So an invented device keeps one secret that all
its keys of the round are drawn from, and what the server said so far; the steps that are done are taken again from
these. A real device keeps its keys in memory, and nothing that could bring them back.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedpersona.errors import RoundClosed
from fedpersona.privacy.secagg import DeviceRound
from fedpersona.simulation.simulated_device import SimulatedDevice
from fedpersona.wire.message import word_type
from fedpersona.wire.parcel import Parcel
from fedpersona.wire.plan import Plan

__all__ = ["KeptRound"]

_STEPS = ("query.share", "train.update", "query.agree", "query.unmask")
_KEPT: Mapping[str, tuple[str, ...]] = {
    "query.share": ("roster", "view"),
    "train.update": ("shares",),
    "query.agree": ("survivors",),
}
"""What each message leaves to be kept."""


@dataclass(frozen=True)
class KeptRound:
    """One device in one round, between two messages."""

    plan: Plan
    fields: Mapping[str, bytes]

    @classmethod
    def begin(cls, device: SimulatedDevice, plan: bytes, model: bytes) -> KeptRound:
        """Enter the round of a signed plan."""
        return cls(device.believe(plan), {"plan": plan, "model": model, "secret": secrets.token_bytes(32)})

    @classmethod
    def resumed(cls, device: SimulatedDevice, fields: Mapping[str, bytes] | None) -> KeptRound:
        """Go on with what was kept.

        Raises:
            RoundClosed: nothing was.
        """
        if not fields:
            raise RoundClosed("this device has not entered the round")
        return cls(device.believe(fields["plan"]), fields)

    @property
    def model(self) -> bytes:
        """The packed model that the round starts from."""
        return self.fields["model"]

    @property
    def next(self) -> str:
        """The message that comes next."""
        return next(kind for kind in _STEPS if not self._done(kind))

    def after(self, parcel: Parcel) -> KeptRound:
        """Return what is to be kept once this message was answered."""
        return KeptRound(self.plan, {**self.fields, **{name: parcel[name] for name in _KEPT[parcel.kind]}})

    def entering(self, device: SimulatedDevice) -> DeviceRound:
        """Return the device's state machine at its beginning."""
        return DeviceRound.for_plan(
            self.plan,
            device.key.public_key().public_bytes_raw(),
            random=_drawn_from(self.fields["secret"]),
        )

    def step(self, device: SimulatedDevice) -> DeviceRound:
        """Return the device's state machine, before its next step."""
        plan, fields = self.plan, self.fields
        secure = self.entering(device)
        secure.advertise()
        if self._done("query.share"):
            secure.share(fields["roster"], fields["view"])
        if self._done("train.update"):
            secure.mask(np.zeros(0, word_type(plan.ring_bits)), fields["shares"])
        if self._done("query.agree"):
            secure.agree(fields["survivors"])
        return secure

    def _done(self, kind: str) -> bool:
        return kind in _KEPT and all(name in self.fields for name in _KEPT[kind])


def _drawn_from(secret: bytes) -> Callable[[int], bytes]:
    """Return a source of bytes that gives the same again for the same secret."""
    drawn = 0

    def random(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(secret + drawn.to_bytes(8, "little")).digest(size)

    return random
