"""What a server asks of a round: numbers and names from a closed vocabulary, never a program."""

from __future__ import annotations

from dataclasses import dataclass

from fedpersona.errors import ConfigError

__all__ = ["Plan"]


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

    def __post_init__(self) -> None:
        if self.round_number < 1:
            raise ConfigError(f"rounds are counted from 1, not {self.round_number}")
        if self.cohort < 1:
            raise ConfigError("a cohort needs at least one device")
        if not 1 <= self.min_count <= self.cohort:
            raise ConfigError(f"min_count must be between 1 and the cohort of {self.cohort}, not {self.min_count}")
        if self.ring_bits not in (32, 64):
            raise ConfigError(f"sums are taken modulo 2^32 or 2^64, not 2^{self.ring_bits}")
