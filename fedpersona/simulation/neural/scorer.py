"""Scores of many people by a module and what their devices keep."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from fedpersona.plays import Plays
from fedpersona.simulation.neural.engine import by_name
from fedpersona.simulation.neural.lanes import Lanes
from fedpersona.simulation.neural.together import train_together
from fedpersona.simulation.population import Population
from fedpersona.taste.model import Shared
from fedpersona.taste.neural import TorchTaste
from fedpersona.taste.neural.blueprint import one_thread
from fedpersona.taste.neural.scores import all_logits, window

__all__ = ["NeuralScorer"]

_FLOATS = 1 << 23
"""Entries of the rows of all items, for the people that are scored at once."""
_FITTED = 64
"""People whose private parameters are fitted at once."""


class NeuralScorer:
    """Scores people by a trained module.

    A half-life that is asked for acts on private parameters, which are fitted anew from plays weighted by it. A
    sequence module knows by itself what came last, and one without private parameters weighs no plays: there it has no
    effect. So none is tried for its own sake: it would do nothing, or cost as much as a training.

    Args:
        model: the module and its settings.
        shared: what was learned.
        population: the people.
        people: positions of those who are scored, increasing.
        kept: what their devices keep, a row each; None where the model remembers nothing.
    """

    half_lives: tuple[float, ...] = ()

    def __init__(
        self,
        model: TorchTaste,
        shared: Shared,
        population: Population,
        people: NDArray[np.int64],
        kept: NDArray[np.float32] | None,
    ) -> None:
        self.model, self.population, self.people, self.kept = model, population, people, kept
        self.values = {name: torch.tensor(array) for name, array in shared.arrays.items()}
        self.items = len(shared[model.blueprint.tables[0]])
        self.listeners = np.zeros(self.items, np.float32)  # the model does not know fame: a discount takes nothing

    def scores_for(self, people: NDArray[np.int64], query: csr_array, half_life: float | None) -> NDArray[np.float32]:
        """Return scores (people, items)."""
        plan = self.model.blueprint
        width = sum(self.values[table].shape[-1] for table in plan.tables)
        scores = np.empty((len(people), self.items), np.float32)
        at_once = max(1, _FLOATS // (self.items * width))
        with one_thread(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            for start in range(0, len(people), at_once):
                members = people[start : start + at_once]
                scores[start : start + at_once] = self._scores(members, half_life)
        return scores

    def _scores(self, people: NDArray[np.int64], half_life: float | None) -> NDArray[np.float32]:
        plan = self.model.blueprint
        whole = plan.whole(self.items)
        plays = [self.population.plays(person) for person in people.tolist()]
        private = {name: torch.from_numpy(array) for name, array in self._private(people, plays, half_life).items()}
        if plan.task == "pointwise":
            if not private:  # the same for all
                return all_logits(plan, whole, self.values).expand(len(people), -1).numpy()
            score = vmap(lambda own: all_logits(plan, whole, {**self.values, **own}))
            scores: Tensor = score(private)
            return scores.numpy()
        some = [place for place, one in enumerate(plays) if len(one)]
        found = np.zeros((len(people), self.items), np.float32)
        if not some:
            return found
        windows = [window(plays[place], plan.length) for place in some]
        history = torch.from_numpy(np.stack([history for history, _ in windows]))
        last = torch.tensor([place for _, place in windows])
        own = {name: value[some] for name, value in private.items()}
        each = vmap(
            lambda own, history, last: all_logits(plan, whole, {**self.values, **own}, history, last),
            in_dims=(0 if own else None, 0, 0),
        )
        found[some] = each(own, history, last).numpy()
        return found

    def _private(
        self, people: NDArray[np.int64], plays: list[Plays], half_life: float | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return what devices keep, or fit it where they keep nothing, or where recent plays are to count for more."""
        shapes = self.model.private_shapes()
        if not shapes:
            return {}
        known = half_life is None or self.model.blueprint.task == "sequence"
        if self.kept is not None and known:
            return by_name(self.kept[np.searchsorted(self.people, people)], shapes)
        model = self.model.model_copy(update={"recency": half_life})
        fitted = []
        with torch.enable_grad():
            for start in range(0, len(people), _FITTED):
                some = plays[start : start + _FITTED]
                lanes = Lanes([model.fitting_steps(one, self.items) for one in some], self.items)
                begin = by_name(np.tile(model.private_start, (len(some), 1)), shapes)
                after = train_together(model, self.values, begin, lanes, frozen=True)
                fitted.append((lanes.order, after.private))
        arrays = {name: np.empty((len(people), *shape), np.float32) for name, shape in shapes.items()}
        for block, (order, private) in enumerate(fitted):
            for name, values in private.items():
                arrays[name][block * _FITTED + order] = values
        return arrays
