"""A whole federation in one process: a coordinator, a crowd of invented devices, and whichever real devices come.

A real device goes through its own gate; an invented one through the same functions without a vault. The server's
part sees masked updates only, and adds them up.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from threadpoolctl import threadpool_limits

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.device.link import Release, provide
from fedpersona.errors import CohortTooSmall, LayoutMismatch, RoundFailed, WireError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.mechanism import noisy_words
from fedpersona.privacy.protection import Protection
from fedpersona.privacy.secagg import Parameters, ServerRound
from fedpersona.simulation.local_link import LocalLink, OpenRound
from fedpersona.simulation.population import Population
from fedpersona.simulation.secure_crowd import SecureCrowd
from fedpersona.simulation.simulated_device import addend
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model import Shared, TasteModel
from fedpersona.wire.layout import Layout
from fedpersona.wire.message import Words, decode
from fedpersona.wire.plan import Plan
from fedpersona.wire.signed_catalogue import seal
from fedpersona.wire.signed_roster import sign_roster
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
        masks: how many neighbours devices mask with, and how many of these recover what one shared.
        protection: what differential privacy its rounds promise; the model's setting ``noise`` has to keep it.
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
        masks: Parameters | None = None,
        protection: Protection | None = None,
        patience: float = 5.0,
    ) -> None:
        self.model = model
        self.crowd = crowd
        self.key = key or Ed25519PrivateKey.generate()
        self.seed = seed
        self.clip = clip
        self.min_count = min_count or len(crowd)
        self.masks = masks or Parameters()
        self.protection = protection
        self.patience = patience
        self.runs = 0
        self.busy = False
        """Whether a run is under way."""
        self.failure: str | None = None
        """Why the last run ended without a model, None where it did not."""
        self._changed = threading.Condition()
        self._present: set[LocalLink] = set()
        self._round: OpenRound | None = None
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
            masks=self.masks,
            protection=self.protection,
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
        """Take a secure sum over the crowd and the real devices that are there.

        Raises:
            CohortTooSmall: too few devices came.
            RoundFailed: so many left that the sum cannot be opened.
        """
        layout = round_layout(self.model, self.crowd.catalogue, plan)
        fixed_point = FixedPoint.for_plan(plan, layout)
        current = OpenRound(plan, shared, self.key)
        server = ServerRound.for_plan(plan, layout.size)
        crowd = SecureCrowd(plan, range(len(self.crowd)), seed=self.seed)

        def words_of(device: int) -> Words:
            plays = self.crowd.plays(device)
            update = addend(self.model, layout, plan, shared, plays, device=device)
            return noisy_words(update, plan, fixed_point, plays)

        try:
            crowd.enter(server)
            places = self._entered(current, server)
            head = server.close_roster().encode()
            signature = sign_roster(head, current.hash, self.key)
            crowd.share(server, head)
            shown = {"roster": head, "signature": signature}
            views = {link: {**shown, "view": server.view(place)} for link, place in places.items()}
            for link, sealed in self._ask(current, "query.share", views).items():
                server.take_sealed(places[link], sealed)
            going = server.close_shares()
            with threadpool_limits(1):
                crowd.update(server, going, words_of)
            delivered = {link: {"shares": server.delivered(place)} for link, place in places.items() if place in going}
            for link, message in self._ask(current, "train.update", delivered).items():
                server.take_vector(places[link], _read(message, current, layout))
            survivors = server.close_vectors()
            crowd.agree(server, survivors, server.summed)
            summed = {link: place for link, place in places.items() if place in server.summed}
            lists = {link: {"survivors": survivors} for link in summed}
            for link, signed in self._ask(current, "query.agree", lists).items():
                server.take_signature(places[link], signed)
            able = server.close_signatures()
            crowd.unmask(server, able)
            signed_by = {link: {"signatures": server.signatures(at)} for link, at in summed.items() if at in able}
            for link, shares in self._ask(current, "query.unmask", signed_by).items():
                server.take_shares(places[link], shares)
            return fixed_point.decode_words(server.open()), server.count
        finally:
            with self._changed:
                self._round = None
                self._changed.notify_all()

    def _entered(self, current: OpenRound, server: ServerRound) -> dict[LocalLink, int]:
        """Let the devices that are there enter; return the places of those that did."""
        with self._changed:
            self._round = current
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(link in current.answers for link in self._present), self.patience)
            current.closed = True
            entered, current.answers = current.answers, {}
        return {link: server.enter(link.identity, keys, signature) for link, (keys, signature) in entered.items()}

    def _ask(
        self, current: OpenRound, kind: str, questions: Mapping[LocalLink, Mapping[str, bytes]]
    ) -> dict[LocalLink, bytes]:
        """Ask real devices; return the answers of those that gave one in time."""
        with self._changed:
            current.kind, current.questions, current.answers = kind, dict(questions), {}
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: all(link in current.answers or link not in self._present for link in questions), self.patience
            )
            answers, current.answers, current.questions = current.answers, {}, {}
        return {link: answers[link][0] for link in questions if link in answers}


def _read(message: bytes, current: OpenRound, layout: Layout) -> Words:
    try:
        return decode(message, plan_hash=current.hash, layout=layout, ring_bits=current.plan.ring_bits)
    except LayoutMismatch as error:
        raise RoundFailed(f"round {current.plan.round_number}: {error}; nothing was released") from None
