"""iALS for a cohort: solve for each person of a block, round once, scatter by one sparse product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from fedpersona.simulation.cohort.form import BlockEncoder, IntegerSum, add_listeners, add_votes, scatter
from fedpersona.taste.ials import IALS
from fedpersona.taste.model import Shared
from fedpersona.taste.packing import pack_outer

__all__ = ["IALSCohort", "IALSScorer"]


class IALSCohort:
    """The cohort form of ``IALS``."""

    def __init__(self, model: IALS) -> None:
        self.model = model
        self.block = max(64, 4_000_000 // model.dim**2)

    def add(self, total: IntegerSum, plays: csr_array, shared: Shared, encoder: BlockEncoder) -> None:
        """Add the statistics of a block; in the private form votes first, then sums alone."""
        if self.model.noise and not shared.round_number:
            add_votes(total, plays, encoder)
            return
        vectors = self.model.added(solve_people(self.model, shared, plays), np.diff(plays.indptr))
        total["item_sum"] += scatter(plays, encoder.encode("item_sum", vectors))
        if self.model.noise:
            return
        outer = pack_outer(vectors)
        total["people_gram"] += encoder.encode("people_gram", outer).sum(axis=0)
        total["item_gram"] += scatter(plays, encoder.encode("item_gram", outer))
        add_listeners(total, plays, encoder)

    def scorer(self, shared: Shared) -> IALSScorer:
        """Return the item factors, with people solved for as they come."""
        return IALSScorer(self.model, shared)


def solve_people(model: IALS, shared: Shared, query: csr_array) -> NDArray[np.float64]:
    """Return one vector a row of weighted plays, shape (people, dim)."""
    vectors = np.empty((query.shape[0], shared["factors"].shape[1]))
    for person in range(query.shape[0]):
        rows = slice(query.indptr[person], query.indptr[person + 1])
        vectors[person] = model.solve_person(shared, query.indices[rows], query.data[rows])
    return vectors


class IALSScorer:
    """Item factors of iALS; a person's vector is solved for from their weighted plays."""

    def __init__(self, model: IALS, shared: Shared) -> None:
        self.model = model
        self.shared = shared
        self.listeners = shared["listeners"]

    def scores(self, query: csr_array) -> NDArray[np.float32]:
        """Solve for the people, and multiply with every item."""
        with threadpool_limits(1):  # many small systems: threads would only wait for each other
            vectors = solve_people(self.model, self.shared, query).astype(np.float32)
        return np.asarray(vectors @ self.shared["factors"].T, np.float32)
