"""What a promise of differential privacy says, in words: no formula, nothing that is only nearly true.

The reading is that of a test (Wasserman, Zhou 2010; Dong, Roth, Su 2022). A coin decides whether a person's history is
in, or an empty one in its place. Someone who sees what is released, and knows everything but the coin, guesses how it
fell. Under (ε, δ) the guess is right with probability at most (e^ε + δ)/(e^ε + 1) (Kairouz, Oh, Viswanath 2015), under
μ-Gaussian-DP at most Φ(μ/2). Each is the least that can be said: some mechanism reaches it. Gaussian noise reaches the
second, which is much smaller: at ε = 8 and δ = 1e-5 it is 80 %, the first 99.97 %.
"""

from __future__ import annotations

import math

from fedpersona.errors import ConfigError

__all__ = ["best_guess", "sentence"]

_VERDICTS = (
    (0.6, "That is a strong promise."),
    (0.75, "That is a good promise."),
    (0.9, "That is a fair promise, not a strong one."),
    (0.999, "That is a weak promise: such a guess is seldom wrong."),
    (1.0, "That is hardly a promise: such a guess is practically never wrong."),
)
"""What a best guess means, up to a rate of success."""


def best_guess(epsilon: float, delta: float, mu: float | None = None) -> float:
    """Return how often the best guess at a person's coin is right, at most: 0.5 is chance, 1 certainty.

    Args:
        epsilon: of the promise; infinite is no promise.
        delta: of the promise.
        mu: of Gaussian differential privacy where it is known: it says more than ε and δ.

    Raises:
        ConfigError: a number is out of its range.
    """
    if not (epsilon >= 0.0 and 0.0 <= delta <= 1.0 and (mu is None or mu >= 0.0)):
        raise ConfigError(f"epsilon and mu are from 0, delta from 0 to 1, not {epsilon!r}, {mu!r} and {delta!r}")
    if mu is not None:
        return math.erfc(-mu / math.sqrt(8)) / 2
    odds_against = math.exp(-epsilon)
    return (1 + delta * odds_against) / (1 + odds_against)


def sentence(
    epsilon: float, delta: float, mu: float | None = None, *, seen: str = "everything that is released"
) -> str:
    """Say in words what a promise is worth to the person who is asked to take part.

    Args:
        epsilon: of the promise; infinite is no promise, and the words say so.
        delta: of the promise.
        mu: of Gaussian differential privacy where it is known: it says more than ε and δ.
        seen: what the one who guesses gets to see, as a noun. Who sees a sum before its noise is not bound by it.

    Raises:
        ConfigError: a number is out of its range.
    """
    right = best_guess(epsilon, delta, mu)
    if math.isinf(epsilon) and (mu is None or math.isinf(mu)):
        return f"Whether or not you take part with your history may show in {seen}: there is no noise that hides it."
    verdict = next(words for limit, words in _VERDICTS if right <= limit)
    return (
        f"Whether or not you take part with your history can be guessed from {seen}, but rightly {_times(right)}, "
        f"even by someone who knows all else about everyone; a coin is right 50 times in 100. {verdict}"
    )


def _times(right: float) -> str:
    """Return a rate of success, rounded up, in words; more digits where it is close to certainty."""
    for of in (100, 1_000, 10_000):
        if (times := math.ceil(right * of)) < of:
            return f"at most {times:,} times in {of:,}"
    return "nearly every time"
