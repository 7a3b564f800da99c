"""The floors that the owner's device holds, whatever a server asks."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpersona.device.spending import DELTA, Spent, cost
from fedpersona.device.store import Store
from fedpersona.errors import BelowFloor, VaultDamaged
from fedpersona.privacy.secagg import MOST_NEIGHBOURS
from fedpersona.taste import MODELS
from fedpersona.wire.plan import Plan

__all__ = ["History", "Policy"]

_ROW = "policy"
_DAY = 86_400

_Limit: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class History(Protocol):
    """What a policy asks of the ledger."""

    def rounds_within(self, seconds: int) -> int:
        """Return how many rounds were answered in the last so many seconds, of all servers."""
        ...

    def seconds_since_another_run(self, server: str, run: str) -> int | None:
        """Return how long ago another run of this server was answered, None where none was."""
        ...

    def answered(self, server: str, run: str) -> tuple[tuple[int, int], ...]:
        """Return the rounds of a run that were answered: number, and the separation that its plan asked for."""
        ...

    def spent(self) -> Spent:
        """Return what taking part has cost over this device's life, with all servers."""
        ...


class Policy(BaseModel):
    """What the owner's device demands of every round. A plan that asks for less care is refused, with the reason."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, validate_default=True
    )

    least_cohort: Annotated[int, Field(ge=2)] = 50
    """Fewest devices that a sum may be released for (``min_count`` of the plan)."""
    least_neighbours: Annotated[int, Field(ge=2, le=MOST_NEIGHBOURS)] = 40
    """Fewest others that a masked update is masked with, and its secrets shared among; everyone of a smaller roster."""
    least_threshold: Annotated[float, Field(gt=0.5, le=1, allow_inf_nan=False)] = 0.6
    """Least share of them that has to answer before anything of a device can be recovered.

    At half of them or less, a server that tells two stories could get both of a device's secrets.
    """
    largest_clip: _Limit | None = 64.0
    """Longest update that a round may allow, in the norm of :mod:`fedpersona.privacy.clipping`.

    A plan that sets no limit is refused; None allows any.
    """
    largest_epsilon: _Limit | None = None
    """Largest ε that all rounds of this device's life may add up to, all servers together; None sets no limit.

    By the device's own account, at the δ of :data:`fedpersona.device.spending.DELTA`. With a limit, a round without
    noise is refused, and so is one that would pass the limit. Who adds the noise, and whether they do, a device cannot
    check: see :mod:`fedpersona.device.notice`.
    """
    most_rounds_a_day: Annotated[int, Field(ge=1, le=10_000)] = 12
    """Most rounds that are answered in any 24 hours, all servers together."""
    least_hours_between: Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False)] = 0.0
    """Least hours between two training runs of one server; the rounds of one run may follow each other at once."""
    least_separation: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Of so many rounds of one run that follow each other at most one is answered; more where a plan says more."""
    most_rounds_of_a_run: Annotated[int, Field(ge=1)] | None = None
    """Most rounds of one training run that are answered; None sets no limit."""
    models: tuple[str, ...] = tuple(MODELS)
    """Taste models that may be trained, by name."""
    largest_upload: Annotated[int, Field(ge=1)] = 64_000_000
    """Most bytes that one round may ask for."""
    allow_unmasked: bool = False
    """Whether an update may be sent that the server can read by itself."""

    def check(self, plan: Plan, *, upload: int, ledger: History, server: str) -> None:
        """Hold a plan against every floor.

        Args:
            plan: what the server asks.
            upload: bytes of the update.
            ledger: what was sent before.
            server: the normalised address.

        Raises:
            BelowFloor: names the floor, what was asked, and what is kept to.
            ChainBroken: the ledger is not what this device signed.
        """
        self._check_plan(plan, upload)
        self.check_before(plan, ledger=ledger, server=server)

    def check_before(self, plan: Plan, *, ledger: History, server: str) -> None:
        """Hold a plan against what was sent before: that part of :meth:`check` that another round can change.

        Raises:
            BelowFloor, ChainBroken: as :meth:`check` does.
        """
        self._check_budget(plan, ledger)
        self._check_run(plan, ledger, server)
        self._check_spacing(plan, ledger, server)

    def _check_plan(self, plan: Plan, upload: int) -> None:
        if plan.model not in self.models:
            kept = ", ".join(self.models) or "none"
            raise BelowFloor(f"models: the round trains '{plan.model}', your device allows {kept}")
        if plan.min_count < self.least_cohort:
            raise BelowFloor(
                f"least_cohort: the round may release a sum of {plan.min_count:,} devices, "
                f"your device wants at least {self.least_cohort:,}"
            )
        if not (plan.masked or self.allow_unmasked):
            raise BelowFloor("allow_unmasked: the round asks for an update that the server could read by itself")
        if plan.masked:
            self._check_masks(plan)
        if self.largest_clip is not None and (plan.clip is None or plan.clip > self.largest_clip):
            asked = "sets no limit to an update" if plan.clip is None else f"allows updates of length {plan.clip:g}"
            raise BelowFloor(f"largest_clip: the round {asked}, your device allows at most {self.largest_clip:g}")
        if upload > self.largest_upload:
            raise BelowFloor(
                f"largest_upload: the round asks for {upload:,} bytes, "
                f"your device sends at most {self.largest_upload:,}"
            )

    def _check_masks(self, plan: Plan) -> None:
        if plan.neighbours < self.least_neighbours:
            raise BelowFloor(
                f"least_neighbours: the round masks with {plan.neighbours:,} other devices, "
                f"your device wants at least {self.least_neighbours:,}"
            )
        if plan.threshold < self.least_threshold * plan.neighbours:
            raise BelowFloor(
                f"least_threshold: {plan.threshold:,} of {plan.neighbours:,} devices could take a mask off, "
                f"your device wants that to take at least {self.least_threshold:g} of them"
            )

    def _check_budget(self, plan: Plan, ledger: History) -> None:
        """Hold the device's own account against the limit; what a plan says of ε plays no part."""
        if self.largest_epsilon is None:
            return
        limit = f"your device allows ε {self.largest_epsilon:g} over its life"
        added = cost(plan)
        if added.noiseless:
            raise BelowFloor(
                f"largest_epsilon: the round adds no noise that counts, so nothing limits what it tells; {limit}"
            )
        before = ledger.spent()
        if before.noiseless:
            raise BelowFloor(
                f"largest_epsilon: {limit}, but its life has {before.noiseless_words} already: what these told has no "
                "limit, so with this floor every round is refused"
            )
        after = before + added
        if after.epsilon > self.largest_epsilon:
            raise BelowFloor(
                f"largest_epsilon: with this round it would be {after.words} at worst, from {before.words} "
                f"(the round by itself {added.words}, δ {DELTA:.6f}); {limit}"
            )

    def _check_run(self, plan: Plan, ledger: History, server: str) -> None:
        """Hold a round against those of its run that were answered, by the ledger and not by the clock."""
        answered = ledger.answered(server, plan.run)
        most = self.most_rounds_of_a_run
        if most is not None and len(answered) >= most:
            raise BelowFloor(
                f"most_rounds_of_a_run: {len(answered):,} rounds of this training were answered, "
                f"your device answers at most {most:,}"
            )
        for number, separation in answered:
            wanted = max(self.least_separation, plan.separation, separation)
            # With no separation a round that failed may be asked again; the account counts it twice.
            if wanted > 1 and abs(plan.round_number - number) < wanted:
                raise BelowFloor(
                    f"least_separation: round {number:,} of this training was answered, and of {wanted:,} rounds that "
                    "follow each other your device answers one"
                )

    def _check_spacing(self, plan: Plan, ledger: History, server: str) -> None:
        answered = ledger.rounds_within(_DAY)
        if answered >= self.most_rounds_a_day:
            raise BelowFloor(
                f"most_rounds_a_day: {answered:,} rounds were answered in the last 24 hours, "
                f"your device answers at most {self.most_rounds_a_day:,}"
            )
        if not self.least_hours_between:
            return
        since = ledger.seconds_since_another_run(server, plan.run)
        if since is not None and since < self.least_hours_between * 3600:
            raise BelowFloor(
                f"least_hours_between: another run of this server was answered {since / 3600:.1f} hours ago, "
                f"your device waits {self.least_hours_between:g}"
            )

    @classmethod
    def load(cls, store: Store) -> Policy:
        """Return the stored policy, the default one where none was ever stored.

        Raises:
            VaultDamaged: it cannot be read. The default could be weaker, so it does not stand in.
        """
        with store.reading() as cursor:
            row = cursor.execute("SELECT value FROM settings WHERE name = ?", (_ROW,)).fetchone()
        if row is None:
            return cls()
        try:
            return cls.model_validate_json(row[0])
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"]) or "all of it"
            raise VaultDamaged(
                f"the stored policy cannot be read ({place}), so nothing is sent: "
                "set your floors again ('fedpersona device policy reset', or device.policy = Policy(...))"
            ) from None

    def save(self, store: Store) -> None:
        """Keep this policy: the next round is held against it."""
        with store.writing() as cursor:
            value = self.model_dump_json().encode()
            cursor.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (_ROW, value))
