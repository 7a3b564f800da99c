"""The tree of exceptions. Every message says what happened, where, and what to do.

::

    FedpersonaError
    ├── InputError                 a person can mend it; the command line exits with 2
    │   ├── DataError              a file or an array that is not what it should be
    │   │   ├── DataNotFound       nothing is there to read
    │   │   └── SplitError         a train/validation/test split that would mislead
    │   ├── ConfigError            a setting or an option out of its range
    │   │   └── UnknownName        a model, dataset or option that does not exist
    │   └── OutputError            a place that cannot be written
    ├── WireError                  something that must not cross the wall, or does not fit
    │   ├── LayoutMismatch         an update that is not of the declared layout
    │   ├── BoundExceeded          a contribution above its declared bound
    │   └── SumOverflow            a sum that could wrap around in its ring
    ├── RoundFailed                a round that may not release a sum
    │   └── CohortTooSmall         fewer devices answered than the agreed minimum
    └── NonFiniteScore             a model scored an item NaN or infinite
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BoundExceeded",
    "CohortTooSmall",
    "ConfigError",
    "DataError",
    "DataNotFound",
    "FedpersonaError",
    "InputError",
    "LayoutMismatch",
    "NonFiniteScore",
    "OutputError",
    "RoundFailed",
    "SplitError",
    "SumOverflow",
    "UnknownName",
    "WireError",
]


class FedpersonaError(Exception):
    """Base of every error that fedpersona raises on purpose."""


class InputError(FedpersonaError):
    """A person can mend it: a file, a setting, a place to write to."""


class DataError(InputError):
    """A file or an array that is not what it should be.

    Args:
        problem: what is wrong and what to do, as one sentence.
        path: the file it was found in.
        place: where in the file: an array name and index, or a line.
    """

    def __init__(self, problem: str, *, path: str | Path | None = None, place: str | None = None) -> None:
        where = ": ".join(str(part) for part in (path, place) if part is not None)
        super().__init__(f"{where}: {problem}" if where else problem)
        self.path = path
        self.place = place


class DataNotFound(DataError):
    """Nothing is there to read."""


class SplitError(DataError):
    """A train/validation/test split that would mislead whoever reads its figures."""


class ConfigError(InputError):
    """A setting or an option out of its range."""


class UnknownName(ConfigError):
    """A model, dataset or option that does not exist."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown {kind} '{name}': choose one of {', '.join(known)}")
        self.name = name
        self.known = known


class OutputError(InputError):
    """A place that cannot be written."""


class WireError(FedpersonaError):
    """Something that must not cross the wall, or does not fit what was declared."""


class LayoutMismatch(WireError):
    """An update that is not of the layout its model declared."""


class BoundExceeded(WireError):
    """A contribution above the bound that its layout declares."""


class SumOverflow(WireError):
    """A sum that could wrap around in its ring, were it taken."""


class RoundFailed(FedpersonaError):
    """A round that may not release a sum."""


class CohortTooSmall(RoundFailed):
    """Fewer devices answered than the agreed minimum."""

    def __init__(self, round_number: int, answered: int, minimum: int) -> None:
        super().__init__(
            f"round {round_number}: {answered} devices answered, the agreed minimum is {minimum}; "
            "nothing was released. Enlarge the cohort, lower the drop-out, or lower min_count."
        )
        self.round_number = round_number
        self.answered = answered
        self.minimum = minimum


class NonFiniteScore(FedpersonaError):
    """A model scored an item NaN or infinite; such a score has no rank."""
