"""Releases as frozen data: what a person may have been in, as a durable ledger keeps it.

All of them are Gaussian, and all costs are of one person whose history is replaced by an empty one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, TypeGuard

from fedpersona.errors import ConfigError, DataError
from fedpersona.privacy.banded import banded_sensitivity

__all__ = [
    "BandedRelease",
    "Event",
    "GaussianRelease",
    "SampledGaussianRelease",
    "event_from_record",
    "event_record",
    "unsampled_multiplier",
]


@dataclass(frozen=True)
class GaussianRelease:
    """``count`` releases that a person is in, each with its own Gaussian noise.

    Args:
        noise_multiplier: deviation of the noise over the sensitivity; 0 is a release without noise.
        count: how many such releases.

    Raises:
        ConfigError: the multiplier is negative or not finite, or the count not a whole number from 1.
    """

    kind: ClassVar[str] = "gaussian"
    noise_multiplier: float
    count: int = 1

    def __post_init__(self) -> None:
        _check_multiplier(self.noise_multiplier)
        _check_count("count", self.count)


@dataclass(frozen=True)
class SampledGaussianRelease:
    """``count`` releases, in each of which a person is with probability ``rate``, drawn anew and kept secret.

    Poisson sampling makes privacy cheaper (Abadi et al. 2016), but someone has to draw. In our federations devices
    choose when they come, and the server sees who came, so none of them may claim this. It is here for reference
    values, and for researchers who hold the data and can sample.

    Args:
        noise_multiplier: deviation of the noise over the sensitivity; 0 is a release without noise.
        count: how many such releases.
        rate: probability of being in one, above 0, at most 1.

    Raises:
        ConfigError: a number is out of its range.
    """

    kind: ClassVar[str] = "sampled-gaussian"
    noise_multiplier: float
    count: int
    rate: float

    def __post_init__(self) -> None:
        _check_multiplier(self.noise_multiplier)
        _check_count("count", self.count)
        if not (_is_number(self.rate) and 0.0 < self.rate <= 1.0):
            raise ConfigError(f"a sampling rate is above 0 and at most 1, not {self.rate!r}")


@dataclass(frozen=True)
class BandedRelease:
    """A training of ``rounds`` whose noise is correlated over ``band`` rounds (banded square-root Toeplitz).

    A person who answers at most once in ``separation`` rounds changes all of it as one Gaussian release would, of a
    sensitivity that :func:`fedpersona.privacy.banded.banded_sensitivity` gives and proves.

    Args:
        noise_multiplier: deviation of the noise before it is correlated, over the sensitivity of one round.
        rounds: planned rounds, all of them: a training that stops early is charged in full.
        band: width of the encoder; 1 is independent noise.
        separation: a device answers at most once in so many rounds; at least the band.

    Raises:
        ConfigError: a number is out of its range, or the separation below the band.
    """

    kind: ClassVar[str] = "banded"
    noise_multiplier: float
    rounds: int
    band: int
    separation: int

    def __post_init__(self) -> None:
        _check_multiplier(self.noise_multiplier)
        for name in ("rounds", "band", "separation"):
            _check_count(name, getattr(self, name))
        banded_sensitivity(self.band, self.rounds, self.separation)


Event = GaussianRelease | SampledGaussianRelease | BandedRelease
"""One entry of an account."""

_KINDS: dict[str, type[Event]] = {kind.kind: kind for kind in (GaussianRelease, SampledGaussianRelease, BandedRelease)}


def unsampled_multiplier(event: GaussianRelease | BandedRelease) -> float:
    """Return the noise multiplier of the one Gaussian release that costs exactly as much as the event."""
    if isinstance(event, GaussianRelease):
        return event.noise_multiplier / math.sqrt(event.count)
    return event.noise_multiplier / banded_sensitivity(event.band, event.rounds, event.separation)


def event_record(event: Event) -> dict[str, str | int | float]:
    """Return an event as plain JSON: its numbers by name, and its ``kind``."""
    return {"kind": event.kind, **asdict(event)}


def event_from_record(record: Mapping[str, object]) -> Event:
    """Read an event that :func:`event_record` wrote.

    Raises:
        DataError: an unknown kind, a number that is missing, superfluous, no number or out of its range.
    """
    kind = _KINDS.get(str(record.get("kind")))
    if kind is None:
        raise DataError(
            f"a release of kind {record.get('kind')!r} cannot be accounted for; known are {', '.join(sorted(_KINDS))}"
        )
    numbers = {name: value for name, value in record.items() if name != "kind"}
    wanted = {field.name for field in fields(kind)}
    if set(numbers) != wanted:
        raise DataError(f"a release of kind '{kind.kind}' has the numbers {', '.join(sorted(wanted))}, and no others")
    create: Callable[..., Event] = kind
    try:
        return create(**numbers)
    except ConfigError as problem:
        raise DataError(f"a release of kind '{kind.kind}' does not hold: {problem}") from None


def _check_multiplier(value: object) -> None:
    if not (_is_number(value) and 0.0 <= value < math.inf):
        raise ConfigError(f"a noise multiplier is a finite number from 0, not {value!r}")


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name} is a whole number from 1, not {value!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
