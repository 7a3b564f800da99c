"""Arithmetic on one thread, so that a result does not depend on how many cores a machine has."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]

_found: tuple[int, ThreadpoolController] | None = None


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which libraries of linear algebra use one thread.

    Finding these libraries takes a millisecond, as long as a small round of a simulation: it is done again
    only where modules were imported since, which may have brought others.
    """
    global _found
    if _found is None or _found[0] != len(sys.modules):
        _found = (len(sys.modules), ThreadpoolController())
    limited: AbstractContextManager[object] = _found[1].limit(limits=1)
    return limited
