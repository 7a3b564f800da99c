"""The one door out: what leaves a device goes through here, in one order.

Consent → policy floors → finite check → clip → fixed point → the device's share of the noise → mask → ledger entry on
disk → send.

Each step can say no, and each no is in the ledger. A withdrawal is looked for before every step: it stops a round
at any point, and what was queued is destroyed. Masking and, after the sending, opening the sum of all take messages
with keys and shares, which say nothing of the owner's history: :mod:`fedpersona.device.secure_round`.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from fedpersona.catalogue import Catalogue
from fedpersona.device.background import Stop
from fedpersona.device.clock import Clock
from fedpersona.device.consent import Consent
from fedpersona.device.demand import check_demand
from fedpersona.device.ledger import Ledger, LedgerEntry
from fedpersona.device.link import Link, Offer, checked_offer
from fedpersona.device.policy import Policy
from fedpersona.device.secure_round import SecureRound
from fedpersona.errors import ConfigError, PlanRefused, Refusal, WireError
from fedpersona.plays import Plays
from fedpersona.privacy.clipping import clip, update_norm
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import noisy_words
from fedpersona.taste import TasteModel, create
from fedpersona.taste.counters import counted, round_layout
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, envelope
from fedpersona.wire.plan import Plan

__all__ = ["Gate", "History"]

_SAME_NOISE = 1e-9  # the two are products of the same numbers


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
    tested: bool
    """Whether it counts how well the shared model did on its owner."""


class Gate:
    """Makes one contribution at a time, through all steps.

    Args:
        vault: the owner's history.
        consent: what the owner said yes to.
        policy: gives the owner's floors as they are now; asked for each round.
        ledger: where every contribution and every no is written.
        clock: the device's clock, whose jumps stop contributions.
    """

    def __init__(
        self, vault: History, consent: Consent, policy: Callable[[], Policy], ledger: Ledger, clock: Clock
    ) -> None:
        self._vault = vault
        self._consent = consent
        self._policy = policy
        self._ledger = ledger
        self._clock = clock

    def willing(self, server: str) -> None:
        """Ask for the owner's yes before a device even shows itself to a server's rounds.

        Raises:
            ConsentMissing: there is none. Nothing was asked, so nothing is written down.
            RolledBack: an older copy of the store was put back; the ledger says so.
            ChainBroken: the consents are not what this device signed.
        """
        self._consent.permit("share_update", server)
        with self._refusing(server):
            self._ledger.check_whole()

    def contribute(self, server: str, link: Link, offer: Offer, catalogue: Catalogue, stop: Stop) -> Plan:
        """Contribute to one round.

        Args:
            server: the normalised address.
            link: the way there; this is the only place that calls its ``send``.
            offer: what the server asks.
            catalogue: the catalogue in use.
            stop: the app's wish to stop, looked for between steps.

        Raises:
            Refusal: the device said no, and the ledger says why: nothing more was sent. What the ledger says was sent
                before stays sent: a masked update, which then gets no help to be opened.
            Exception: whatever the link raised. Once it was handed the message, the ledger says that it may have left.
        """
        with self._refusing(server):
            self._ledger.check_whole()  # first: a yes of an older copy may have been taken back since
            permits = [self._consent.permit("share_update", server)]
            plan = Plan.decode(checked_offer(offer).plan)
            # Under masks only: by itself, how well a list fits says something of its owner.
            testing = plan.metrics and plan.masked and self._consent.granted("share_metrics", server)
            if testing:
                permits.append(self._consent.permit("share_metrics", server))

        def may_go_on() -> None:
            for permit in permits:
                permit.check()
            stop.check()

        with ExitStack() as ending:
            with self._refusing(server, plan):
                asked = self._checked(plan, offer, catalogue, server)
                secure = None
                if plan.masked:
                    least = self._policy().least_neighbours
                    secure = SecureRound(link, plan, may_go_on, stop.wait, least_neighbours=least)
                    ending.callback(secure.erase)
                queued = self._queued(asked, offer, catalogue, may_go_on, testing=testing)
                ending.callback(queued.words.fill, 0)
                if secure is not None:
                    secure.mask(queued.words)
                may_go_on()
                entry = self._written(server, asked, queued)
            self._send(link, entry, queued, may_go_on)
            if secure is not None:
                with self._refusing(server, plan):
                    secure.finish()
        return plan

    @contextmanager
    def _refusing(self, server: str, plan: Plan | None = None) -> Iterator[None]:
        """Write every no into the ledger, with its reason."""
        try:
            yield
        except (Refusal, WireError, ConfigError) as error:
            refusal = error if isinstance(error, Refusal) else PlanRefused(str(error))
            self._ledger.refused(server=server, purpose="share_update", plan=plan, reason=str(refusal))
            raise refusal from error

    def _checked(self, plan: Plan, offer: Offer, catalogue: Catalogue, server: str) -> _Asked:
        """Hold the plan against the owner's floors, and the shared model against the plan."""
        self._clock.trusted()
        model = create(plan.model, dict(plan.settings))
        check_demand(model, len(catalogue))
        layout = round_layout(model, catalogue, plan)
        _check_noise(plan, model, layout)
        fixed_point = FixedPoint.for_plan(plan, layout)
        self._policy().check(plan, upload=fixed_point.bytes_per_update, ledger=self._ledger, server=server)
        if plan.catalogue != catalogue.version:
            raise PlanRefused("the plan is for another version of the catalogue than this device has")
        if offer.shared.round_number != plan.round_number - 1:
            raise PlanRefused(f"the plan is for round {plan.round_number}, the model is not the one before it")
        model.check(offer.shared, catalogue)
        if offer.shared.hash() != plan.shared_hash:
            raise PlanRefused("the shared model is not the one that the plan names: its hash differs")
        return _Asked(plan, model, layout, fixed_point)

    def _queued(
        self, asked: _Asked, offer: Offer, catalogue: Catalogue, may_go_on: Callable[[], None], *, testing: bool
    ) -> _Queued:
        """Compute the owner's addend, check that it is finite, clip it, and encode it as words of the ring."""
        may_go_on()
        plays = self._vault.plays(catalogue)
        # With nothing known the addend is zero, and masked and sent like any other: a device that stayed away would
        # tell the server that its owner played nothing of this catalogue.
        with threadpool_limits(1):  # an addend must not depend on how many cores helped
            private = asked.model.personalise(offer.shared, plays)
            rng = np.random.default_rng(secrets.randbits(128))
            update = asked.model.contribute(offer.shared, private, plays, rng)
            plan = asked.plan
            update = counted(update, plan, asked.model, offer.shared, plays, testing=testing)
            update.check(asked.layout)
            may_go_on()
            if plan.clip is not None:
                update, _ = clip(update, asked.layout, plan.clip)
            norm = update_norm(update, asked.layout)
        message, words = envelope(plan_hash=plan.hash(), layout=asked.layout, ring_bits=plan.ring_bits)
        noisy_words(update, plan, asked.fixed_point, plays, out=words)
        return _Queued(message, words, norm, testing)

    def _written(self, server: str, asked: _Asked, queued: _Queued) -> LedgerEntry:
        """Write into the ledger, on disk, what is about to be sent."""
        return self._ledger.sending(
            server=server,
            purpose="share_update",
            plan=asked.plan,
            layout=asked.layout,
            size=len(queued.message),
            digest=hashlib.sha256(queued.message).hexdigest(),
            norm=queued.norm,
            tested=queued.tested,
            allowed=lambda: self._policy().check_before(asked.plan, ledger=self._ledger, server=server),
        )

    def _send(self, link: Link, entry: LedgerEntry, queued: _Queued, may_go_on: Callable[[], None]) -> None:
        """Hand the message over, unless the owner or the app said no at the last moment; then wipe it.

        What the link raises does not tell that nothing arrived, so the entry stands as what may have left.
        """
        try:
            try:
                may_go_on()
            except Refusal as refusal:
                self._ledger.destroyed(entry, reason=str(refusal))
                raise
            link.send(queued.message)
        finally:
            queued.words.fill(0)
        self._ledger.delivered(entry)


def _check_noise(plan: Plan, model: TasteModel, layout: Layout) -> None:
    """Check that the noise of a plan is that which the model is made for, by this device's own copy of the model.

    Raises:
        PlanRefused: the model is in the form for sums without noise, or for another amount of it, or shares of noise
            would stand alone.
    """
    if not plan.noise:
        return
    if plan.noise == "distributed" and not plan.masked:
        raise PlanRefused(
            "the plan leaves the noise to the devices and asks for updates without masks: one device's share hides "
            "little, and the server could read each by itself"
        )
    if not model.noise or layout.length is None:
        raise PlanRefused(
            f"the plan promises noise, but asks for '{model.name}' in the form for sums without it, in which nothing "
            "says how much of a sum is one person's"
        )
    promised = (plan.noise_multiplier or 0.0) * (plan.clip or 0.0)
    if not math.isclose(promised, model.noise, rel_tol=_SAME_NOISE, abs_tol=0.0):
        raise PlanRefused(
            f"the plan's noise is {promised:g}, and that of the model's settings {model.noise:g}: they must be the same"
        )
