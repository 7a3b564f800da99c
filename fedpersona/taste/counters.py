"""What a round counts beside the model's own sums: devices, and how well the shared model did on them.

Counters are entries of the update like all others: masked, and read as sums only. The number of devices is known from
who answered; counted once more inside the sum, it shows whether the sum is one: where masks did not cancel, because
devices were shown different things or sent garbage, it is a random number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fedpersona.catalogue import Catalogue
from fedpersona.errors import SumSpoilt
from fedpersona.plays import Plays
from fedpersona.taste.model import Private, Shared, TasteModel
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan
from fedpersona.wire.update import Update

__all__ = [
    "DEVICES",
    "HITS",
    "TESTED",
    "counted",
    "metrics_of",
    "round_layout",
    "self_test",
    "without_counters",
]

DEVICES, TESTED, HITS = "round.devices", "round.tested", "round.hits"
"""Names of the counters; a model's own arrays have no dot in theirs."""

_COUNTERS = (DEVICES, TESTED, HITS)
_UNIT = 5.0
"""A test counts a fifth in the length of an update: a rate over hundreds of devices bears five times the noise."""
_LIST = 10  # a hit is a held-out track among so many


def round_layout(model: TasteModel, catalogue: Catalogue, plan: Plan) -> Layout:
    """Return all that an update of this round holds: the model's arrays, then the counters, each 0 or 1 a device.

    Its length, where the model states one, holds for the model's arrays and the tests together. The number of devices
    is public: the server knows who answered.
    """
    own = model.layout(catalogue, plan.round_number)
    tests = tuple(ArraySpec(name, (1,), bound=1.0, unit=_UNIT) for name in (TESTED, HITS) if plan.metrics)
    length = None if own.length is None else math.sqrt(own.length**2 + len(tests) / _UNIT**2)
    return Layout((*own.arrays, ArraySpec(DEVICES, (1,), bound=1.0, public=True), *tests), length)


def counted(
    update: Update, plan: Plan, model: TasteModel, shared: Shared, plays: Plays, *, testing: bool = True
) -> Update:
    """Return a device's update with its counters, each 0 or 1, before it is clipped.

    Args:
        update: the model's own part.
        plan: the round, which says whether devices are to test the shared model.
        model: the taste model.
        shared: the model that the round starts from.
        plays: the device's history.
        testing: whether this device tests; one that does not counts as one that had nothing to test.
    """
    counters = {DEVICES: 1.0}
    if plan.metrics:
        counters |= self_test(model, shared, plays) if testing else {TESTED: 0.0, HITS: 0.0}
    return Update({**update.arrays, **{name: np.array([value]) for name, value in counters.items()}})


def self_test(model: TasteModel, shared: Shared, plays: Plays) -> dict[str, float]:
    """Test the shared model on one person: whether the track played last is among the first ten, from the others.

    The model may have learnt from that track too, in an earlier round, so this is a little kind to it; among many
    people one person's part is small.

    Returns:
        :data:`TESTED`, 1 where there was something to test, and :data:`HITS`.
    """
    if len(plays) < 2 or shared.round_number == 0:
        return {TESTED: 0.0, HITS: 0.0}
    last = len(plays) - 1 if plays.last_played is None else int(np.argmax(plays.last_played))
    rest = np.arange(len(plays)) != last
    known = Plays(
        plays.items[rest], plays.weights[rest], None if plays.last_played is None else plays.last_played[rest]
    )
    private: Private = model.personalise(shared, known)
    scores = model.scores(shared, private, known)
    wanted = scores[plays.items[last]]
    # Ties count against the model, and a score that is no number is below all.
    others = np.count_nonzero(~(scores < wanted)) - np.count_nonzero(~(scores[known.items] < wanted)) - 1
    return {TESTED: 1.0, HITS: float(np.isfinite(wanted) and others < _LIST)}


def without_counters(total: Update, plan: Plan, count: int) -> Update:
    """Return the model's own part of a sum, once the counted devices are as many as answered.

    Raises:
        SumSpoilt: they are not: the sum is none.
    """
    counted_devices = float(total[DEVICES][0])
    if counted_devices != count:
        raise SumSpoilt(plan.round_number, f"{count} devices answered, and their sum does not count as many")
    return Update({name: array for name, array in total.arrays.items() if name not in _COUNTERS})


def metrics_of(total: Update) -> Mapping[str, float]:
    """Return what the counters of a sum say: ``tested``, and ``hit_rate`` where anybody was.

    Noise can bring either below none, and hits above all; what is said of them is neither.
    """
    if TESTED not in total.arrays:
        return {}
    tested = max(0.0, float(total[TESTED][0]))
    hits = min(tested, max(0.0, float(total[HITS][0])))
    return {"tested": tested} | ({"hit_rate": hits / tested} if tested > 0 else {})
