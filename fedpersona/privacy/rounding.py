"""Which way a device rounds its update: one number in [0, 1) for each array, keyed by its own history and the plan.

Stochastic rounding makes every entry right on average (Gupta et al. 2015, section 4). One number an array will do: it
is uniform, so each entry alone is unbiased; entries of one device err together, those of different devices do not, and
it is over devices that a sum is taken. Keyed by what was played, it is the same on a phone, in a simulated device and
in a cohort form, none of which needs to know a number of the device.

It is **no privacy noise**. Devices that played the same items round the same way, anybody who knows a history can
compute it, and an entry of zero stays zero. That the server does not learn it hides nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpersona.plays import Plays
from fedpersona.randomness import GOLDEN, mix64, text_key, unit_interval
from fedpersona.wire.layout import Layout
from fedpersona.wire.plan import Plan

__all__ = ["device_offsets", "fingerprints", "offsets"]

_PURPOSE = "rounding"


def device_offsets(plan: Plan, layout: Layout, plays: Plays) -> dict[str, float]:
    """Return the rounding offset of one device for each array of a round.

    Args:
        plan: the round, whose seed and number count.
        layout: the arrays of the round's updates.
        plays: the device's history, of which the items count: not how often or when they were played.

    Returns:
        by array name, a number in [0, 1) for :meth:`fedpersona.privacy.fixed_point.FixedPoint.encode`.
    """
    fingerprint = _terms(plays.items).sum(dtype=np.uint64, keepdims=True)
    return {name: float(offsets(plan, name, fingerprint)[0]) for name in layout.names}


def fingerprints(items: NDArray[np.integer], indptr: NDArray[np.integer], catalogue_size: int) -> NDArray[np.uint64]:
    """Return a number for what each of many devices played: sums of mixed items modulo 2^64, in any order.

    Args:
        items: catalogue rows, device after device, shape (plays,); of a ``csr_array`` its ``indices``.
        indptr: where each device's items begin, and where the last ones end, shape (devices + 1,).
        catalogue_size: above every row.

    Returns:
        uint64 array of shape (devices,), 0 for a device that played nothing.
    """
    prints = np.zeros(len(indptr) - 1, np.uint64)
    some = np.flatnonzero(np.diff(indptr))
    if some.size:  # an item is mixed once, not once a play; reduceat would give an empty row the next one's first term
        prints[some] = np.add.reduceat(_terms(np.arange(catalogue_size))[items], indptr[some])
    return prints


def offsets(plan: Plan, name: str, prints: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the rounding offsets of many devices for the array ``name``, float64 in [0, 1), shape (devices,)."""
    key = np.uint64(text_key(f"{plan.seed}/{plan.round_number}/{_PURPOSE}/{name}"))
    return unit_interval(mix64(mix64(prints ^ key) + GOLDEN))


def _terms(items: NDArray[np.integer]) -> NDArray[np.uint64]:
    return mix64((items.astype(np.uint64) + np.uint64(1)) * GOLDEN)
