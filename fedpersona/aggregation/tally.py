"""What became of the devices that a round asked, in numbers: never which device did what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Tally"]


@dataclass
class Tally:
    """The counts of one attempt at a round."""

    present: int = 0
    """Enrolled devices that were there when the round began."""
    asked: int = 0
    entered: int = 0
    """Devices of the closed roster; those asked, where there are no masks."""
    answered: int = 0
    """Devices in the sum."""
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that were none, by reason."""
    dropped: int = 0
    """Devices that were asked and said nothing until time was up; not those that a full cohort did not wait for."""
    late: int = 0
    """Answers to earlier rounds, discarded."""
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: ``gathering``, ``entering``, ``sharing``, ``updating``, ``agreeing``, ``unmasking``."""

    def counts(self) -> dict[str, Any]:
        """Return what :meth:`fedpersona.aggregation.journal.Journal.end` takes."""
        return {
            "answered": self.answered,
            "refused": dict(self.refused),
            "dropped": self.dropped,
            "late": self.late,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
        }

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started
