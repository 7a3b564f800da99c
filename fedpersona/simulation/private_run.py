"""What a run under differential privacy adds: noise before the first round, its account, and accuracy against ε."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedpersona.aggregation.protecting import protected
from fedpersona.errors import ConfigError
from fedpersona.privacy.protection import Protection
from fedpersona.privacy.wording import sentence
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engines import make_scorer
from fedpersona.simulation.measurement import Measured, Measurement
from fedpersona.simulation.narration import Narrator, Silence
from fedpersona.simulation.population import Split
from fedpersona.simulation.record import NO_NOISE, NOISY, Privacy, PrivacyPoint, RunConfig
from fedpersona.simulation.training import Training, cohort_of, train
from fedpersona.taste import Popularity, TasteModel
from fedpersona.wire.plan import Plan

__all__ = ["PrivateRun", "measure_privacy", "note_delta", "protected_model", "without_noise"]

_ASIDE: dict[str, Any] = {"engine": "cohort", "secure": False}
"""How a model is trained that is only compared with: the same sums in less time."""


@dataclass(frozen=True, eq=False)
class PrivateRun:
    """What was measured around a private run."""

    record: Privacy
    floors: list[Measured]
    """Popularity under the run's own promise; empty where that is the model."""


def note_delta(delta: float | None, people: int, narrator: Narrator) -> None:
    """Warn of a δ that could be the chance of giving a person away altogether.

    A mechanism that publishes one person of n, drawn by lot, has δ = 1/n and an ε of 0: from there on a δ says little.
    """
    if delta is not None and delta * people >= 1:
        narrator.note(
            f"a delta of {delta:g} is not below one in {people:,} devices: it could be spent on showing one of "
            "them whole. Choose a smaller --delta"
        )


def protected_model(
    config: RunConfig, model: TasteModel, split: Split, epsilon: float
) -> tuple[TasteModel, Protection]:
    """Return a model with the noise that keeps the promise of a run, at this ε.

    Raises:
        ConfigError: the model states no length, or no noise keeps it.
    """
    if config.delta is None:
        raise ConfigError("an epsilon says nothing without a delta")
    cohort = cohort_of(config, len(split.train))
    return protected(model, split.catalogue, epsilon=epsilon, delta=config.delta, noise=config.noise, people=cohort)


def measure_privacy(
    config: RunConfig,
    exact: TasteModel,
    model: TasteModel,
    protection: Protection,
    plans: Sequence[Plan],
    federated: Measured,
    measurement: Measurement,
    narrator: Narrator,
) -> PrivateRun:
    """Account for what was released, and train the rest of the curve.

    Args:
        config: of the run.
        exact: the model before any noise was chosen.
        model: the one that was trained.
        protection: its promise.
        plans: its rounds.
        federated: its figures.
        measurement: measures the others.
        narrator: hears of each of them.
    """
    curve, floors = [], []
    for epsilon in sorted({protection.epsilon, *config.epsilons}):
        own = epsilon == protection.epsilon
        popularity = None
        if not isinstance(model, Popularity):
            narrator.stage(f"popularity at epsilon {epsilon:g}, to compare with")
            noisy = _popularity(config, measurement, epsilon)
            popularity = noisy.result.test["ndcg@10"]
            if own:
                floors.append(noisy)
        if own:
            measured, deviation = federated, model.noise
        else:
            narrator.stage(f"training {model.name} at epsilon {epsilon:g}")
            measured, deviation = _at(config, exact, measurement, epsilon)
        curve.append(_point(epsilon, deviation, measured, popularity))
    return PrivateRun(_record(protection, model, plans, curve), floors)


def without_noise(config: RunConfig, model: TasteModel, measurement: Measurement) -> Measured:
    """Train and measure the model without noise, on each person once, everyone answering."""
    plain: dict[str, Any] = {"epsilon": None, "epsilons": (), "delta": None, "noise": "central", "replicate": 1}
    everyone = {"cohort": None, "min_count": None, "behaviour": Behaviour()}
    aside = config.model_copy(update={**_ASIDE, **plain, **everyone})
    training = train(model, measurement.split.train, aside, Silence(), watched=measurement.people)
    return _measured(f"{model.name}{NO_NOISE}", "ceiling", config, model, training, measurement)


def _at(config: RunConfig, exact: TasteModel, measurement: Measurement, epsilon: float) -> tuple[Measured, float]:
    """Train and measure a model under another promise; return the deviation of its noise too."""
    model, protection = protected_model(config, exact, measurement.split, epsilon)
    training = train(
        model, measurement.split.train, config.model_copy(update=_ASIDE), Silence(), protection, measurement.people
    )
    return _measured(exact.name, "federated", config, model, training, measurement), model.noise


def _popularity(config: RunConfig, measurement: Measurement, epsilon: float) -> Measured:
    model, protection = protected_model(config, Popularity(), measurement.split, epsilon)
    training = train(
        model, measurement.split.train, config.model_copy(update=_ASIDE), Silence(), protection, measurement.people
    )
    plain = config.model_copy(update={"recency": "off", "discount": 0.0})
    return _measured(NOISY, "floor", plain, model, training, measurement)


def _measured(
    name: str, role: Any, config: RunConfig, model: TasteModel, training: Training, measurement: Measurement
) -> Measured:
    return measurement.measure(
        name,
        role,
        make_scorer(
            model,
            training.shared,
            measurement.split.train,
            measurement.people,
            training.kept.get(len(training.reports)),
        ),
        recency=config.recency,
        discount=config.discount,
        rounds=len(training.reports),
        bytes_up=sum(report.bytes_up for report in training.reports),
        bytes_down=sum(report.bytes_down for report in training.reports) + training.shared.nbytes,
        seconds=training.seconds,
    )


def _point(epsilon: float, deviation: float, measured: Measured, popularity: float | None) -> PrivacyPoint:
    result = measured.result
    return PrivacyPoint(
        epsilon=epsilon,
        deviation=deviation,
        ndcg=result.test["ndcg@10"],
        interval=result.intervals["ndcg@10"],
        popularity=popularity,
    )


def _record(protection: Protection, model: TasteModel, plans: Sequence[Plan], curve: list[PrivacyPoint]) -> Privacy:
    from fedpersona.privacy.accounting import GaussianRelease, account

    multipliers = [plan.noise_multiplier for plan in plans if plan.noise_multiplier is not None]
    cost = account([GaussianRelease(multiplier) for multiplier in multipliers], protection.delta)
    if cost.mu is None or cost.epsilon_exact is None or cost.epsilon > protection.epsilon:
        raise ConfigError(f"the rounds cost an epsilon of {cost.epsilon:g}, and {protection.epsilon:g} was promised")
    return Privacy(
        epsilon=protection.epsilon,
        delta=protection.delta,
        noise=protection.noise,
        noise_multipliers=multipliers,
        deviation=model.noise,
        rounds=len(plans),
        people=plans[0].cohort,
        shares=plans[0].min_count if protection.noise == "distributed" else None,
        epsilon_pld=cost.epsilon,
        epsilon_rdp=cost.epsilon_rdp,
        epsilon_exact=cost.epsilon_exact,
        mu=cost.mu,
        sentence=sentence(protection.epsilon, protection.delta, cost.mu),
        curve=curve,
    )
