"""The floors that the owner's device holds, whatever a server asks."""

from __future__ import annotations

from typing import Annotated, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
    """Largest sum of ε over this device's life, all servers together; None sets no limit.

    This version adds no noise and cannot check that anyone does, so it takes no server's word for an ε: with a limit,
    every plan is refused.
    """
    most_rounds_a_day: Annotated[int, Field(ge=1, le=10_000)] = 12
    """Most rounds that are answered in any 24 hours, all servers together."""
    least_hours_between: Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False)] = 0.0
    """Least hours between two training runs of one server; the rounds of one run may follow each other at once."""
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
        self._check_budget(plan)
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

    def _check_budget(self, plan: Plan) -> None:
        if self.largest_epsilon is not None:
            raise BelowFloor(
                f"largest_epsilon: your device allows ε {self.largest_epsilon:g} over its life, but this version has "
                "no differential privacy, so with this floor every round is refused"
            )
        if plan.epsilon is not None:
            raise BelowFloor(
                f"epsilon: the round promises differential privacy of ε {plan.epsilon:g}, "
                "but this version cannot check that noise is added, so it takes no promise"
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
