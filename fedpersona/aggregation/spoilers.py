"""Devices that spoil one masked sum after another, kept out for a while: one of them must not end every round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["Spoilers"]


class Spoilers:
    """Remembers, by node id, which devices failed a closed roster.

    Once is bad luck. From the second time on a device is left out of 1, 3, 7, … attempts: otherwise a single one that
    enters and never answers would end every attempt at every round.
    """

    def __init__(self) -> None:
        self._faults: Counter[int] = Counter()
        self._sits_out: dict[int, int] = {}  # attempts that a device is still left out of

    def without(self, present: list[int], wanted: int) -> list[int]:
        """Return those that are not left out of this attempt, or all where these are fewer than ``wanted``."""
        others = [node for node in present if node not in self._sits_out]
        self._sits_out = {node: left - 1 for node, left in self._sits_out.items() if left > 1}
        return others if len(others) >= wanted else present

    def blame(self, roster: Iterable[int], failed: set[int]) -> None:
        """Note which devices of a closed roster failed it; a round answered well takes one fault off."""
        for node in roster:
            self._faults[node] = self._faults[node] + 1 if node in failed else max(0, self._faults[node] - 1)
            if node in failed and self._faults[node] > 1:
                self._sits_out[node] = 2 ** min(self._faults[node] - 1, 10) - 1
