"""The noise of a training, from the privacy that it is to keep: worked out once, before its first round."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Literal

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError
from fedpersona.privacy.gaussian import gaussian_epsilon, gaussian_mu
from fedpersona.privacy.protection import LARGEST_EPSILON, Protection, clip_for
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model import TasteModel
from fedpersona.wire.plan import Plan

__all__ = ["clips", "costliest", "epsilon_of", "protected", "with_noise"]

_TRIES = 16  # a layout that depends on how much noise there is settles at once, or not at all
_MORE = 1e-6  # of the noise, doubled until every count is content
_FAR = 10.0
_LARGEST = 1e6  # of the noise: with more, devices would take what is learned for no honest model


def protected(
    model: TasteModel,
    catalogue: Catalogue,
    *,
    epsilon: float,
    delta: float,
    metrics: bool = False,
    noise: Literal["central", "distributed"] = "central",
    separation: int = 1,
    people: int | None = None,
) -> tuple[TasteModel, Protection]:
    """Return a model whose setting ``noise`` keeps a promise over all its planned rounds, and the promise.

    Every round has the same noise, in units of the layout: with updates of length L_t in round t the deviation is
    sqrt(sum of L_t²) / μ(ε, δ), the sum being over the rounds that one device can be in, and a few millionths more
    until the other count of it, by privacy loss distributions, keeps the promise as well.

    Args:
        model: the taste model; whatever ``noise`` it has is replaced.
        catalogue: the public vocabulary.
        epsilon: what the whole training may cost whoever takes part in every round; above 0.
        delta: the δ that belongs to it.
        metrics: whether devices count how well the model does on them: that is protected with the rest.
        noise: who adds it.
        separation: a device takes part in at most one of so many rounds that follow each other.
        people: how many devices a round sums, as far as anyone knows beforehand: what a model can learn under noise
            depends on it, and the model's settings are chosen for it; None leaves them as they are.

    Raises:
        ConfigError: the model states no length, ε or δ is out of its range, or no noise is large enough.
    """
    if not epsilon > 0:
        raise ConfigError(f"epsilon must be above 0, not {epsilon!r}: nothing can be learned for nothing")
    if epsilon > LARGEST_EPSILON:
        raise ConfigError(
            f"an epsilon of {epsilon:g} promises nothing: give {LARGEST_EPSILON:g} at most, or train without noise"
        )
    mu = gaussian_mu(epsilon, delta)
    if mu <= 0:
        raise ConfigError(f"an epsilon of {epsilon:g} at a delta of {delta:g} asks for more noise than there can be")
    found = _suited(with_noise(model, 1.0), people, catalogue)
    for tries in range(_TRIES):
        lengths = clips(found, catalogue, metrics=metrics)
        length = math.sqrt(costliest({number: clip**2 for number, clip in lengths.items()}, separation))
        enough, more = length / mu, _MORE
        while epsilon_of(length / enough, delta) > epsilon:
            enough, more = length / mu * (1.0 + more), 2.0 * more
        if enough == found.noise:
            return found, Protection(noise, epsilon, delta, separation)
        # where two forms call for each other, each by the noise of the other, the lesser of them is kept to
        found = _suited(with_noise(model if tries < _TRIES // 2 else found, enough), people, catalogue)
    raise ConfigError(f"the model '{model.name}' changes its form with its noise: none keeps an epsilon of {epsilon:g}")


def epsilon_of(mu: float, delta: float) -> float:
    """Return what Gaussian releases cost that are worth μ together: the larger of two counts of it.

    One is the analytic Gaussian, the other by privacy loss distributions: they share no arithmetic. The second takes
    memory as μ grows; far above all that is ever promised the first is enough.
    """
    from fedpersona.privacy.accounting import GaussianRelease
    from fedpersona.privacy.accounting.accounts import pld_epsilon

    if mu == 0.0:
        return 0.0
    exact = gaussian_epsilon(mu, delta)
    if exact > _FAR * LARGEST_EPSILON:
        return exact
    return max(exact, pld_epsilon([GaussianRelease(1.0 / mu)], delta))


def _suited(model: TasteModel, people: int | None, catalogue: Catalogue) -> TasteModel:
    return model if people is None else model.suited(people, len(catalogue))


def with_noise(model: TasteModel, noise: float) -> TasteModel:
    """Return a model with another setting ``noise``.

    Raises:
        ConfigError: no model can have that much.
    """
    if not 0 < noise <= _LARGEST:
        raise ConfigError(
            f"the model '{model.name}' would need noise that deviates by {noise:.3g}, of {_LARGEST:g} at most: "
            "give it a larger epsilon or fewer rounds"
        )
    return type(model).model_validate({**model.model_dump(), "noise": noise})


def clips(model: TasteModel, catalogue: Catalogue, *, metrics: bool) -> Mapping[int, float]:
    """Return how long an update of each planned round can be, in units of its layout, by round number.

    Raises:
        ConfigError: the model does not state it.
    """
    found = {}
    for number in range(1, model.planned_rounds(catalogue) + 1):
        plan = Plan(model.name, number, cohort=1, min_count=1, ring_bits=64, seed=0, metrics=metrics)
        length = round_layout(model, catalogue, plan).length
        if length is None:
            raise ConfigError(
                f"the model '{model.name}' does not state how long an update can be: no noise can protect it"
            )
        found[number] = clip_for(length)
    return found


def costliest(shares: Mapping[int, float], separation: int = 1) -> float:
    """Return the largest sum of shares, each 0 or more and of one round, over rounds that one device can be in.

    These are rounds of which no two are closer than ``separation``: with 1, all of them.

    Raises:
        ConfigError: ``separation`` is below 1.
    """
    if separation < 1:
        raise ConfigError(f"a device answers one round of 1 or more, not of {separation}")
    numbers = sorted(shares)
    if separation == 1:
        return math.fsum(shares.values())
    best: list[float] = []
    for place, number in enumerate(numbers):
        before = bisect_right(numbers, number - separation) - 1
        with_it = shares[number] + (best[before] if before >= 0 else 0.0)
        best.append(max(with_it, best[place - 1]) if place else with_it)
    return best[-1] if best else 0.0
