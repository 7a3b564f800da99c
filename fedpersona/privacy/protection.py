"""What differential privacy a training promises, and how that stands in the plans of its rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fedpersona.errors import ConfigError

__all__ = ["LARGEST_EPSILON", "Protection", "clip_for"]

LARGEST_EPSILON = 1000.0
"""Largest ε that is promised: with more, chance hides nothing, and its exact count would only take memory."""

_ROOM = 1e-9
"""Room above the longest honest update, for the last bits of its arithmetic: clipping then never touches one."""


def clip_for(length: float) -> float:
    """Return the clip norm that leaves honest updates of this length as they are; noise is measured against it."""
    return length * (1.0 + _ROOM)


@dataclass(frozen=True)
class Protection:
    """The promise of a whole training, as the account gives it."""

    noise: Literal["central", "distributed"]
    epsilon: float
    """What taking part in every planned round costs."""
    delta: float
    separation: int = 1
    """A device takes part in at most one of so many rounds that follow each other."""

    def terms(self, model: str, length: float | None, deviation: float) -> dict[str, Any]:
        """Return the fields of a round's plan.

        Args:
            model: name of the taste model, for the error.
            length: longest update that its layout states.
            deviation: of the noise, in units of the layout: the model's setting ``noise``.

        Raises:
            ConfigError: no length is stated, or there is no noise.
        """
        if length is None:
            raise ConfigError(f"the model '{model}' does not state how long an update can be: no noise can protect it")
        if deviation <= 0:
            raise ConfigError(f"the model '{model}' is to be protected by noise, but its setting 'noise' is 0")
        clip = clip_for(length)
        return {
            "clip": clip,
            "noise": self.noise,
            "noise_multiplier": deviation / clip,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "separation": self.separation,
        }
