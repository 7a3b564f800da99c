"""One invented device: it computes for a round what a real one does, but has no vault, no gate and no owner.

Its keys are made from the seed of the simulation. They are no secret, and protect nobody: nobody real is there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fedpersona.catalogue import Catalogue
from fedpersona.errors import PlanRefused
from fedpersona.plays import Plays
from fedpersona.privacy.clipping import clip
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import noisy_words
from fedpersona.randomness import generator, keys
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import create
from fedpersona.taste.counters import counted, round_layout
from fedpersona.taste.gradient import GradientModel
from fedpersona.taste.gradient.model import as_private, as_row
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, envelope
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_plan import unseal_plan
from fedpersona.wire.update import Update

__all__ = ["SimulatedDevice", "addend", "operator_key", "signing_key", "training_keys"]


def addend(
    model: TasteModel,
    layout: Layout,
    plan: Plan,
    shared: Shared,
    plays: Plays,
    *,
    device: int,
    privates: PrivateTable | None = None,
    person: int = 0,
) -> Update:
    """Return what one simulated device adds to the sum of a round: personalise, contribute, count, clip.

    The caller says how many threads arithmetic may use: one, so that the result does not depend on the machine.

    Args:
        model: the taste model of the plan.
        layout: of this round's updates, with its counters.
        plan: the round.
        shared: the model that the round starts from.
        plays: the device's history.
        device: its number, which keys what it draws.
        privates: what devices keep from round to round, where the model remembers; without, it begins with nothing.
        person: the device's row there; it is replaced by what the device keeps after the round.
    """
    if isinstance(model, GradientModel):
        update = _trained(model, plan, shared, plays, device, privates, person)
    else:
        rng = generator(plan.seed, "contribute", round_number=plan.round_number, device=device)
        update = model.contribute(shared, model.personalise(shared, plays), plays, rng)
    update = counted(update, plan, model, shared, plays)
    return update if plan.clip is None else clip(update, layout, plan.clip)[0]


def training_keys(plan: Plan, devices: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return what begins all that devices draw in a round while they train, a key each."""
    return keys(plan.seed, "train", devices, round_number=plan.round_number)


def _trained(
    model: GradientModel,
    plan: Plan,
    shared: Shared,
    plays: Plays,
    device: int,
    privates: PrivateTable | None,
    person: int,
) -> Update:
    place, shapes = np.array([person]), model.private_shapes()
    if privates is None or not model.remembers:
        private = model.personalise(shared, plays)
    else:
        private = as_private(privates.take(place)[0], shapes)
    private, update = model.train(shared, private, plays, training_keys(plan, np.array([device]))[0])
    if privates is not None and model.remembers:
        privates.put(place, as_row(private, shapes)[np.newaxis])
    return update


def operator_key(seed: int) -> Ed25519PrivateKey:
    """Return the signing key of a simulated operator, the same for the same seed."""
    return Ed25519PrivateKey.from_private_bytes(_digest(f"operator {seed}"))


def signing_key(seed: int, device: int) -> Ed25519PrivateKey:
    """Return the signing key of a simulated device, the same for the same seed and number."""
    return Ed25519PrivateKey.from_private_bytes(_digest(f"device {seed} {device}"))


def _digest(words: str) -> bytes:
    return hashlib.sha256(f"fedpersona simulation: {words}".encode()).digest()


@dataclass(frozen=True, eq=False)
class SimulatedDevice:
    """One of a simulation's devices."""

    catalogue: Catalogue
    plays: Plays = field(repr=False)
    """Its invented history."""
    number: int
    seed: int
    """Of the simulation: keys are made from it."""

    @classmethod
    def of(cls, population: Population, number: int, *, seed: int) -> SimulatedDevice:
        """Return the device of one person of a population."""
        return cls(population.catalogue, population.plays(number), number, seed)

    @property
    def key(self) -> Ed25519PrivateKey:
        """What it signs its answers with."""
        return signing_key(self.seed, self.number)

    def believe(self, sealed: bytes) -> Plan:
        """Return a plan that the simulated operator signed.

        Raises:
            PlanRefused: somebody else did, or it is for another catalogue.
        """
        plan = unseal_plan(sealed, operator_key(self.seed).public_key().public_bytes_raw())
        if plan.catalogue != self.catalogue.version:
            raise PlanRefused("the plan is for another catalogue: both sides need the same people, items and seed")
        return plan

    def message(self, plan: Plan, shared: Shared) -> tuple[bytearray, Words]:
        """Return the device's answer to a plan, and a view of its words, which can be masked in place.

        Raises:
            PlanRefused: the shared model is not the one that the plan names.
            LayoutMismatch: it is not of the model's form.
        """
        model = create(plan.model, dict(plan.settings))
        model.check(shared, self.catalogue)
        if shared.hash() != plan.shared_hash:
            raise PlanRefused("the shared model is not the one that the plan names: its hash differs")
        layout = round_layout(model, self.catalogue, plan)
        message, words = envelope(plan_hash=plan.hash(), layout=layout, ring_bits=plan.ring_bits)
        with threadpool_limits(1):
            update = addend(model, layout, plan, shared, self.plays, device=self.number)
        noisy_words(update, plan, FixedPoint.for_plan(plan, layout), self.plays, out=words)
        return message, words
