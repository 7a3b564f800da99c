"""What a server asks of a round: numbers and names from a closed vocabulary, never a program."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import Any, TypeAlias

from fedpersona.errors import ConfigError, PlanRefused

__all__ = ["NEIGHBOURS", "NOISES", "THRESHOLD", "Plan", "Setting"]

Setting: TypeAlias = "str | int | float | bool | None"

NEIGHBOURS = 76
"""How many others a device masks with and shares its secrets with, by default; ``docs/secure-aggregation.md``."""
THRESHOLD = 56
"""How many of so many neighbours recover what a device shared, by default."""

NOISES = ("", "central", "distributed")
"""Who can add noise to a sum: nobody, the server, every device its share."""

_LARGEST = 65_536  # bytes of an encoded plan; ours have a few hundred
_LARGEST_NUMBER = 1 << 63
_TYPES: Mapping[str, tuple[type, ...]] = {
    "model": (str,),
    "round_number": (int,),
    "cohort": (int,),
    "min_count": (int,),
    "ring_bits": (int,),
    "seed": (int,),
    "run": (str,),
    "catalogue": (str,),
    "shared_hash": (str,),
    "settings": (list,),
    "clip": (float, int, NoneType),
    "noise": (str,),
    "noise_multiplier": (float, int, NoneType),
    "epsilon": (float, int, NoneType),
    "delta": (float, int, NoneType),
    "separation": (int,),
    "masked": (bool,),
    "neighbours": (int,),
    "threshold": (int,),
    "metrics": (bool,),
    "federation": (str,),
    "serial": (int,),
    "issued": (int,),
    "expires": (int,),
}


@dataclass(frozen=True)
class Plan:
    """One round, as the server asks for it."""

    model: str
    """Name of the taste model, one that devices have installed."""
    round_number: int
    """Counted from 1."""
    cohort: int
    """Most devices that the round may ask; the ring of the sum is sized for it."""
    min_count: int
    """Fewest devices whose sum may be released."""
    ring_bits: int
    """Sums are taken modulo two to this power: 32 or 64."""
    seed: int
    """Keys the choice of the cohort."""
    run: str = ""
    """Which training run the round belongs to."""
    catalogue: str = ""
    """Version of the catalogue whose rows the update has."""
    shared_hash: str = ""
    """Hash of the shared model that the update starts from."""
    settings: tuple[tuple[str, Setting], ...] = ()
    """The model's settings by name, in alphabetical order."""
    clip: float | None = None
    """Longest update, in the norm of :mod:`fedpersona.privacy.clipping`; None where only its entries are bounded."""
    noise: str = ""
    """Who adds Gaussian noise to the sum: ``central`` the server, ``distributed`` every device its share; or nobody."""
    noise_multiplier: float | None = None
    """Standard deviation of the noise on the sum, over ``clip``; what the round costs a person follows from it."""
    epsilon: float | None = None
    """What all the training costs whoever is in every round once, by the server's account; None without noise.

    A round that is held again, because its sum was lost, comes on top.
    """
    delta: float | None = None
    """The δ that belongs to it."""
    separation: int = 1
    """A device answers at most one of so many rounds that follow each other; 1 is every round."""
    masked: bool = False
    """Whether the update is masked, so that only a sum can be read."""
    neighbours: int = NEIGHBOURS
    """With how many others a device masks, and shares its secrets; all others where these are not more."""
    threshold: int = THRESHOLD
    """How many of that number recover what a device shared."""
    metrics: bool = False
    """Whether the sum also counts on how many devices the shared model was tested, and how often it did well."""
    federation: str = ""
    """Which federation the round belongs to; a device answers those it joined only."""
    serial: int = 0
    """Rises with every plan that a server signs and is never used twice, so that no plan can be replayed."""
    issued: int = 0
    """When the server made it, Unix seconds."""
    expires: int = 0
    """When it may no longer be answered, Unix seconds; 0 where it does not expire (one process only)."""

    def __post_init__(self) -> None:
        if self.round_number < 1:
            raise ConfigError(f"rounds are counted from 1, not {self.round_number}")
        if self.cohort < 1:
            raise ConfigError("a cohort needs at least one device")
        if not 1 <= self.min_count <= self.cohort:
            raise ConfigError(f"min_count must be between 1 and the cohort of {self.cohort}, not {self.min_count}")
        if self.ring_bits not in (32, 64):
            raise ConfigError(f"sums are taken modulo 2^32 or 2^64, not 2^{self.ring_bits}")
        for name in (name for name, kinds in _TYPES.items() if kinds == (int,)):
            if not 0 <= getattr(self, name) < _LARGEST_NUMBER:
                raise ConfigError(f"{name} must not be negative, nor above {_LARGEST_NUMBER - 1}")
        for name in ("clip", "noise_multiplier", "epsilon", "delta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be positive and finite, not {value}")
        if self.separation < 1:
            raise ConfigError(f"a device answers one round of 1 or more, not of {self.separation}")
        self._check_noise()

    def _check_noise(self) -> None:
        """Check that a plan promises noise wholly or not at all."""
        if self.noise not in NOISES:
            raise ConfigError(f"noise is {', '.join(map(repr, NOISES))}, not {self.noise[:40]!r}")
        promised = [getattr(self, name) is not None for name in ("noise_multiplier", "epsilon", "delta")]
        if any(promised) != bool(self.noise) or all(promised) != bool(self.noise):
            raise ConfigError("noise goes with a noise multiplier, an epsilon and a delta, all of them or none")
        if self.noise and self.clip is None:
            raise ConfigError("noise protects nobody where no clip bounds an update")
        if self.delta is not None and self.delta >= 1:
            raise ConfigError(f"delta must be below 1, not {self.delta}")

    def encode(self) -> bytes:
        """Return the plan as canonical JSON: sorted keys, no spaces, ASCII."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def hash(self) -> str:
        """SHA-256 of the encoded plan, in hexadecimal; worked out once, since each message of a round names it."""
        known: str | None = self.__dict__.get("_known_hash")
        if known is None:
            known = hashlib.sha256(self.encode()).hexdigest()
            object.__setattr__(self, "_known_hash", known)
        return known

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """Read a plan that came over the wire.

        Raises:
            PlanRefused: it is not JSON, is too long, misses a field, has another, or one out of its range.
        """
        if len(data) > _LARGEST:
            raise PlanRefused(f"the server's plan has {len(data):,} bytes; no plan has more than {_LARGEST:,}")
        try:
            found = json.loads(data)
            if not isinstance(found, dict) or set(found) != {field.name for field in fields(cls)}:
                raise PlanRefused("the server's plan has not the fields of a plan")
            for name, kinds in _TYPES.items():
                if type(found[name]) not in kinds:
                    raise PlanRefused(f"the server's plan: '{name}' is of the wrong type")
            plan = cls(**{**found, "settings": tuple(_setting(pair) for pair in found["settings"])})
            plan.encode()  # a number that JSON has no word for has no hash either
            return plan
        except (ValueError, RecursionError, OverflowError):
            raise PlanRefused("the server's plan cannot be read") from None
        except ConfigError as error:
            raise PlanRefused(f"the server's plan: {error}") from None


def _setting(pair: Any) -> tuple[str, Setting]:
    if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
        name, value = pair
        if value is None or type(value) in (str, int, float, bool):
            return name, value
    raise PlanRefused("the server's plan: a setting is not a name with one value")
