"""The one door out: what leaves a device goes through here, in one order.

Consent → policy floors → finite check → clip → fixed point → mask → ledger entry on disk → send.

Each step can say no, and each no is in the ledger. A withdrawal is looked for before every step: it stops a round
at any point, and what was queued is destroyed.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from fedpersona.catalogue import Catalogue
from fedpersona.device.background import Stop
from fedpersona.device.clock import Clock
from fedpersona.device.consent import Consent, Permit
from fedpersona.device.ledger import Ledger
from fedpersona.device.link import Link, Offer
from fedpersona.device.policy import Policy
from fedpersona.errors import ConfigError, FedpersonaError, NoKnownItem, PlanRefused, Refusal, WireError
from fedpersona.plays import Plays
from fedpersona.privacy.clipping import clip, update_norm
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.masking import MaskKey
from fedpersona.taste import TasteModel, create
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, envelope
from fedpersona.wire.plan import Plan

__all__ = ["Gate", "History"]

_POLL = 0.2  # seconds between two looks at whether to stop


class History(Protocol):
    """What the gate asks of the vault, and only once consent and policy have said yes."""

    def plays(self, catalogue: Catalogue) -> Plays:
        """Return the owner's history over the catalogue's rows."""
        ...


@dataclass(frozen=True)
class _Asked:
    """A plan that passed the checks, and what follows from it."""

    plan: Plan
    model: TasteModel
    layout: Layout
    fixed_point: FixedPoint


@dataclass(frozen=True)
class _Queued:
    """A message that waits to be masked and sent."""

    message: bytearray
    words: Words
    """The message's own words: what changes them changes it."""
    norm: float
    """Length of the update after clipping."""


class Gate:
    """Makes one contribution at a time, through all steps.

    Args:
        vault: the owner's history.
        consent: what the owner said yes to.
        policy: the owner's floors.
        ledger: where every contribution and every no is written.
        clock: the device's clock, whose jumps stop contributions.
    """

    def __init__(self, vault: History, consent: Consent, policy: Policy, ledger: Ledger, clock: Clock) -> None:
        self._vault = vault
        self._consent = consent
        self._policy = policy
        self._ledger = ledger
        self._clock = clock

    def contribute(self, server: str, link: Link, offer: Offer, catalogue: Catalogue, stop: Stop) -> Plan:
        """Contribute to one round.

        Args:
            server: the normalised address.
            link: the way there; this is the only place that calls its ``send``.
            offer: what the server asks.
            catalogue: the catalogue in use.
            stop: the app's wish to stop, looked for between steps.

        Raises:
            Refusal: the device said no, and the ledger says why. Nothing was sent.
        """
        plan: Plan | None = None
        try:
            permit = self._consent.permit("share_update", server)
            plan = Plan.decode(offer.plan)
            asked = self._checked(plan, offer, catalogue, server)
            queued = self._queued(asked, offer, catalogue, permit, stop)
            self._hand_over(server, link, asked, queued, permit, stop)
        except Refusal as refusal:
            self._refused(server, plan, refusal)
            raise
        except (WireError, ConfigError, NoKnownItem) as error:
            unfit = PlanRefused(str(error))
            self._refused(server, plan, unfit)
            raise unfit from error
        return plan

    def _refused(self, server: str, plan: Plan | None, refusal: FedpersonaError) -> None:
        self._ledger.refused(server=server, purpose="share_update", plan=plan, reason=str(refusal))

    def _checked(self, plan: Plan, offer: Offer, catalogue: Catalogue, server: str) -> _Asked:
        """Hold the plan against the owner's floors, and the shared model against the plan."""
        self._clock.trusted()
        model = create(plan.model, dict(plan.settings))
        layout = model.layout(catalogue, plan.round_number)
        fixed_point = FixedPoint(layout, plan.cohort, plan.ring_bits)
        self._policy.check(plan, upload=fixed_point.bytes_per_update, ledger=self._ledger, server=server)
        if plan.catalogue != catalogue.version:
            raise PlanRefused("the plan is for another version of the catalogue than this device has")
        if offer.shared.round_number != plan.round_number - 1:
            raise PlanRefused(f"the plan is for round {plan.round_number}, the model is not the one before it")
        model.check(offer.shared, catalogue)
        if offer.shared.hash() != plan.shared_hash:
            raise PlanRefused("the shared model is not the one that the plan names: its hash differs")
        return _Asked(plan, model, layout, fixed_point)

    def _queued(self, asked: _Asked, offer: Offer, catalogue: Catalogue, permit: Permit, stop: Stop) -> _Queued:
        """Compute the owner's addend, check that it is finite, clip it, and encode it as words of the ring."""
        _may_go_on(permit, stop)
        plays = self._vault.plays(catalogue)
        if not len(plays):
            raise NoKnownItem(f"nothing you played is among the catalogue's {len(catalogue):,} {catalogue.kind}s")
        with threadpool_limits(1):  # an addend must not depend on how many cores helped
            private = asked.model.personalise(offer.shared, plays)
            rng = np.random.default_rng(secrets.randbits(128))
            update = asked.model.contribute(offer.shared, private, plays, rng)
        update.check(asked.layout)
        _may_go_on(permit, stop)
        if asked.plan.clip is not None:
            update, _ = clip(update, asked.layout, asked.plan.clip)
        plan = asked.plan
        message, words = envelope(plan_hash=plan.hash(), layout=asked.layout, ring_bits=plan.ring_bits)
        asked.fixed_point.encode_words(update, out=words)
        return _Queued(message, words, update_norm(update, asked.layout))

    def _hand_over(self, server: str, link: Link, asked: _Asked, queued: _Queued, permit: Permit, stop: Stop) -> None:
        """Mask what is queued, write the ledger, and send; then wipe it, whatever happened."""
        try:
            if asked.plan.masked:
                _mask(queued.words, link, asked.plan.hash(), permit, stop)
            _may_go_on(permit, stop)
            self._send(server, link, asked, queued, permit, stop)
        finally:
            queued.words.fill(0)

    def _send(self, server: str, link: Link, asked: _Asked, queued: _Queued, permit: Permit, stop: Stop) -> None:
        entry = self._ledger.sending(
            server=server,
            purpose="share_update",
            plan=asked.plan,
            layout=asked.layout,
            size=len(queued.message),
            digest=hashlib.sha256(queued.message).hexdigest(),
            norm=queued.norm,
        )
        try:
            _may_go_on(permit, stop)
            link.send(queued.message)
        except Refusal as refusal:
            self._ledger.destroyed(entry, reason=str(refusal))
            raise
        self._ledger.delivered(entry)


def _mask(words: Words, link: Link, digest: str, permit: Permit, stop: Stop) -> None:
    key = MaskKey()
    _may_go_on(permit, stop)
    link.enter(digest, key.public)
    neighbours = None
    while neighbours is None:
        neighbours = link.neighbours(digest, _POLL)
        _may_go_on(permit, stop)
    key.mask(words, neighbours, digest.encode())


def _may_go_on(permit: Permit, stop: Stop) -> None:
    permit.check()
    stop.check()
