"""Devices that spoil one masked sum after another, kept out for a while: one of them must not end every round."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterable

__all__ = ["Spoilers"]


class Spoilers:
    """Remembers, by node id, which devices failed a closed roster, and among whom is one that nobody can name.

    Once is bad luck. From the second time on a device is left out of 1, 3, 7, … attempts: otherwise a single one that
    enters and never answers would end every attempt at every round.

    Garbage under a mask spoils a sum, and does not show whose it was. So of those that may have done it half are left
    out of the next attempt: a sum that is right clears those in it, one that is spoilt clears those that are not.
    When that has come down to one, it has a fault more. The first guess is a device whose own secret could not be
    recovered, or one that had faults before; where that was wrong, all of the roster are suspected.
    """

    def __init__(self) -> None:
        self._faults: Counter[int] = Counter()
        self._sits_out: dict[int, int] = {}  # attempts that a device is still left out of
        self._suspects: frozenset[int] = frozenset()

    def without(self, present: list[int], wanted: int) -> list[int]:
        """Return those to ask: none that sits out, and half of the suspects; but never fewer than ``wanted``."""
        others = [node for node in present if node not in self._sits_out]
        self._sits_out = {node: left - 1 for node, left in self._sits_out.items() if left > 1}
        if len(others) < wanted:
            others = present
        suspects = [node for node in others if node in self._suspects]
        out = min(-(-len(suspects) // 2), len(others) - wanted)
        left_out = set(secrets.SystemRandom().sample(suspects, max(out, 0)))
        return [node for node in others if node not in left_out]

    def blame(self, roster: Iterable[int], failed: Collection[int]) -> None:
        """Note which devices of a closed roster failed it; a round answered well takes one fault off."""
        for node in roster:
            self._faults[node] = self._faults[node] + 1 if node in failed else max(0, self._faults[node] - 1)
            if node in failed and self._faults[node] > 1:
                self._sits_out[node] = 2 ** min(self._faults[node] - 1, 10) - 1

    def suspect(self, roster: Collection[int], likely: Collection[int] = ()) -> None:
        """Note that one of these spoilt a sum, and nobody can say which.

        Args:
            roster: devices that were in the round.
            likely: those of them that are guessed first, where nobody is suspected yet.
        """
        everyone = frozenset(roster)
        narrowed = self._suspects & everyone
        if not narrowed and not self._suspects:
            narrowed = frozenset(likely) or frozenset(node for node in everyone if self._faults[node])
        self._suspects = narrowed or everyone

    def clear(self, summed: Collection[int]) -> None:
        """Note that the sum of these came out right."""
        self._suspects -= frozenset(summed)
        if len(self._suspects) == 1:
            (found,) = self._suspects
            self._suspects = frozenset()
            self._faults[found] = max(1, self._faults[found])
            self.blame([found], {found})
