"""What a training has to do with the budget: its noise as it begins, leave for a round, the spend for each sum."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from fedpersona.aggregation.budget import Balance, Budget, open_budget, read_balance
from fedpersona.aggregation.budget_entries import Opened
from fedpersona.aggregation.budget_witness import halt, metadata, remembered
from fedpersona.aggregation.config import PrivacyConfig, ServerConfig
from fedpersona.aggregation.database import Database, checkpoints
from fedpersona.aggregation.protecting import clips, protected
from fedpersona.aggregation.trainings import Training
from fedpersona.catalogue import Catalogue
from fedpersona.errors import BudgetSpent, ConfigError
from fedpersona.privacy.protection import Protection
from fedpersona.taste.model import TasteModel
from fedpersona.wire.plan import Plan

__all__ = [
    "Spending",
    "check_budget",
    "check_terms",
    "halt_terms",
    "held_budget",
    "promised",
    "promises",
    "same_model",
    "same_promise",
    "spending",
]

_WAIT = 5.0  # seconds for another process to let the account go: one that changes the limit holds it for a moment
_WORTH = 0.01  # of the limit: with less than that left, no training begins that was not asked to cost so little
_SHORTER = (1.0, 1.0 - 1e-4, 1.0 - 1e-2)  # of what a training may cost, until every count of all together is content


class Spending:
    """The budget of a federation, as one training deals with it.

    Args:
        config: the server's, with a section ``privacy``.
        database: the server's.
        budget: held by this process.
    """

    def __init__(self, config: ServerConfig, database: Database, budget: Budget) -> None:
        self._config = config
        self._privacy = _section(config)
        self._database = database
        self._budget = budget

    def protect(self, model: TasteModel, catalogue: Catalogue, devices: int) -> tuple[TasteModel, Protection]:
        """Return the model of a new training with its noise, and what the training promises.

        Args:
            model: as it was configured.
            catalogue: the public vocabulary.
            devices: how many are enrolled: for so many, or for a whole cohort, the model is suited to its noise.

        Raises:
            BudgetSpent: what is left does not pay for it.
            ConfigError: the model does not state how long an update can be.
        """
        privacy, rounds, balance = self._privacy, self._config.rounds, self._budget.balance
        left, asked = balance.left, privacy.training_epsilon
        if left < (asked or _WORTH * balance.limit):
            raise _too_little(balance, asked)
        for part in _SHORTER:
            found, protection = protected(
                model,
                catalogue,
                epsilon=(asked or left) * part,
                delta=privacy.delta,
                metrics=rounds.metrics,
                noise=privacy.noise,
                separation=privacy.separation,
                people=min(rounds.cohort, max(rounds.min_count, devices)),
            )
            try:
                self._budget.check(0, self._multipliers(found, catalogue), privacy.separation, "a training")
            except BudgetSpent:
                continue
            return found, protection
        raise _too_little(balance, asked)

    def allow_all(self, training: Training, model: TasteModel, catalogue: Catalogue) -> None:
        """Refuse a training of which not every round can be paid for.

        Raises:
            BudgetSpent: it is so.
        """
        multipliers = self._multipliers(model, catalogue)
        self._budget.check(training.id, multipliers, self._privacy.separation, f"training {training.id}")

    def allow(self, plan: Plan, training: Training) -> None:
        """Refuse a round that cannot be paid for, before anybody is asked.

        Raises:
            BudgetSpent: it is so.
        """
        if plan.noise_multiplier is None:
            raise BudgetSpent(f"round {plan.round_number} has no noise, and no budget pays for that: nobody is asked")
        what = f"round {plan.round_number} of training {training.id}"
        self._budget.check(training.id, {plan.round_number: plan.noise_multiplier}, plan.separation, what)

    def spend(self, plan: Plan, training: Training) -> None:
        """Pay for a sum before it is released; see :meth:`fedpersona.aggregation.budget.Budget.spend`."""
        self._budget.spend(plan, training.id)

    def metadata(self) -> dict[str, Any]:
        """Return what is kept with a model: how far the account has come."""
        balance = self._budget.balance
        return metadata(balance.mark, balance.epsilon)

    def halt(self) -> None:
        """Let no further run begin until the account or the configuration changes."""
        halt(self._database, halt_terms(self._config))

    def _multipliers(self, model: TasteModel, catalogue: Catalogue) -> dict[int, float]:
        lengths = clips(model, catalogue, metrics=self._config.rounds.metrics)
        return {number: model.noise / clip for number, clip in lengths.items()}


@contextmanager
def spending(
    config: ServerConfig, database: Database, key: Ed25519PrivateKey, *, clock: Callable[[], float] = time.time
) -> Iterator[Spending | None]:
    """Hold the budget of a server as long as the context lasts; None where its sums have no noise.

    Raises:
        ServerRunning: another process holds it.
        BudgetDamaged: the account is missing, or not what was written.
        ConfigError: the account is of another federation or delta, allows less than the configuration asks for, or
            is there and the configuration asks for nothing.
    """
    if config.privacy is None:
        _check_none(config, database)
        yield None
        return
    with held_budget(config, database, key, clock=clock) as budget:
        check_terms(config, budget.balance)
        yield Spending(config, database, budget)


@contextmanager
def held_budget(
    config: ServerConfig, database: Database, key: Ed25519PrivateKey, *, clock: Callable[[], float] = time.time
) -> Iterator[Budget]:
    """Hold the budget of a server, whatever its limit is, to look at it or to change that.

    Raises:
        ServerRunning: another process holds it.
        BudgetDamaged: the account is missing, or not what was written.
    """
    first = _first(config, database)
    with open_budget(config.budget, database, key, first, clock=clock, wait=_WAIT) as budget:
        yield budget


def check_budget(config: ServerConfig, database: Database, key: Ed25519PrivateKey) -> None:
    """Check the budget as a server starts, and open it where there never was one.

    Raises:
        BudgetDamaged: the account is missing, or not what was written.
        ConfigError: see :func:`spending`.
    """
    if config.privacy is None:
        _check_none(config, database)
        return
    balance = read_balance(config.budget, database, key.public_key().public_bytes_raw())
    if balance is None:
        with spending(config, database, key):
            return
    check_terms(config, balance)


def check_terms(config: ServerConfig, balance: Balance) -> None:
    """Check that a configuration and an account go together.

    Raises:
        ConfigError: they do not.
    """
    privacy, opened = _section(config), balance.opened
    if opened.federation != config.federation.name:
        raise ConfigError(
            f"{config.budget}: is the budget of the federation '{opened.federation}', and this one is "
            f"'{config.federation.name}': give it a state folder of its own"
        )
    if opened.delta != privacy.delta:
        raise ConfigError(
            f"{config.file}: [privacy] delta is {privacy.delta:g}, and the account counts by {opened.delta:g}, which "
            "cannot change: write that"
        )
    if privacy.epsilon > balance.limit:
        raise ConfigError(
            f"{config.file}: [privacy] epsilon is {privacy.epsilon:g}, and the limit in the account is "
            f"{balance.limit:g}: raise that with 'fedpersona server budget raise --epsilon {privacy.epsilon:g} "
            f'--reason "…"\', or write {balance.limit:g}'
        )


def promises(config: ServerConfig, protection: Protection | None) -> dict[str, Any] | None:
    """Return what is kept with a training of its promise; None where there is none."""
    if protection is None:
        return None
    return {"epsilon": protection.epsilon, "asked": _asked(config), "settings": _settings(config)}


def promised(training: Training, config: ServerConfig) -> Protection | None:
    """Return the promise of a training that was begun by the present configuration."""
    if training.privacy is None:
        return None
    privacy = _section(config)
    return Protection(privacy.noise, training.privacy["epsilon"], privacy.delta, privacy.separation)


def same_promise(training: Training, config: ServerConfig) -> bool:
    """Tell whether a training was begun by what the section ``privacy`` says now, and with the same counters.

    The epsilon there does not count: it only opens the account.
    """
    return (None if training.privacy is None else training.privacy["asked"]) == _asked(config)


def same_model(training: Training, config: ServerConfig) -> bool:
    """Tell whether a training was begun for the model that is configured now; noise may have changed its settings."""
    settings = training.settings if training.privacy is None else training.privacy["settings"]
    return (training.model, settings) == (config.model.name, _settings(config))


def halt_terms(config: ServerConfig) -> str:
    """Return what, beside the account, decides whether a training can begin."""
    said = {"privacy": _asked(config), "model": config.model.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _settings(config: ServerConfig) -> dict[str, Any]:
    return config.model.create().model_dump(mode="json")


def _asked(config: ServerConfig) -> Mapping[str, Any] | None:
    if config.privacy is None:
        return None
    # What devices count has its part in the length of an update, and so in what a round costs.
    return config.privacy.model_dump(mode="json", exclude={"epsilon"}) | {"metrics": config.rounds.metrics}


def _section(config: ServerConfig) -> PrivacyConfig:
    if config.privacy is None:
        raise ConfigError(f"{config.file}: has no section [privacy]: no budget is kept")
    return config.privacy


def _check_none(config: ServerConfig, database: Database) -> None:
    if config.budget.exists() or remembered(database):
        raise ConfigError(
            f"{config.file}: this federation keeps a privacy budget ({config.budget}), which people rely on, and there "
            "is no section [privacy]: put it back; without a budget, begin a new federation"
        )


def _first(config: ServerConfig, database: Database) -> Callable[[], Opened]:
    def first() -> Opened:
        privacy = _section(config)
        with database.reading() as connection:
            earlier = connection.scalar(select(func.count()).where(checkpoints.c.round_number > 0)) or 0
        return Opened(config.federation.name, privacy.epsilon, privacy.delta, int(earlier))

    return first


def _too_little(balance: Balance, asked: float | None) -> BudgetSpent:
    training = "another training" if asked is None else f"another training at epsilon {asked:g}"
    return BudgetSpent(
        f"the privacy budget is spent: epsilon {balance.epsilon:.4g} of {balance.limit:g} (delta {balance.delta:g}); "
        f"what is left does not pay for {training}"
    )
