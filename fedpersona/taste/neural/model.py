"""Any module of PyTorch as a taste model: parameters that are shared, and private ones that never leave the device."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError
from fedpersona.plays import Plays
from fedpersona.randomness import fingerprint
from fedpersona.taste.gradient.model import GradientModel
from fedpersona.taste.model import Private, Shared
from fedpersona.taste.neural.steps import Steps, pointwise_steps, sequence_steps
from fedpersona.taste.query import query_weights
from fedpersona.wire.update import Update

if TYPE_CHECKING:
    from torch import nn

    from fedpersona.taste.neural.blueprint import Blueprint

__all__ = ["TorchTaste"]


class TorchTaste(GradientModel):
    """A ``torch.nn.Module``, trained by federated gradient descent.

    The convention that a module keeps to is told in :mod:`fedpersona.taste.neural.blueprint`. The fields that a
    subclass adds are arguments of the module's constructor.

    The setting ``recency`` acts on private parameters of a pointwise module, which the device then fits anew; that
    costs it a training, so a simulation does it where a half-life is given and tries none by itself. Nobody counts
    listeners: ``discount`` changes nothing.
    """

    costs: ClassVar[tuple[float, float, float]] = (5e-10, 5e-4, 4e-9)

    fit_epochs: int = Field(20, ge=1, le=1000)
    """Passes in which a person without private parameters gets some, the shared ones staying as they are."""

    @classmethod
    @abstractmethod
    def module_class(cls) -> type[nn.Module]:
        """Return the class of the module; this is where torch is imported."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the module's constructor gets beside the number of items."""
        common = TorchTaste.model_fields
        return {name: getattr(self, name) for name in type(self).model_fields if name not in common}

    @property
    def blueprint(self) -> Blueprint:
        """The module, its convention checked.

        Raises:
            ConfigError: torch is not there, or the module does not keep to the convention.
        """
        try:
            from fedpersona.taste.neural.blueprint import blueprint

            module_class = self.module_class()
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ConfigError(f"{self.name} needs PyTorch: pip install 'fedpersona[torch]'") from None
        return blueprint(module_class, tuple(sorted(self.arguments.items())))  # type: ignore[arg-type]  # hashable

    def shared_shapes(self, items: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the shared parameters; a dot in a name becomes a stroke."""
        return self.blueprint.shared_shapes(items)

    def private_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the private parameters."""
        return self.blueprint.private_shapes()

    def init(self, catalogue: Catalogue, seed: int) -> Shared:
        """Return the shared parameters as the module's constructor makes them from the seed."""
        values = self.blueprint.beginning(len(catalogue), seed)
        arrays = {name: values[name] for name in self.shared_shapes(len(catalogue))}
        return Shared(self.name, catalogue.version, 0, arrays)

    def begin(self, seed: int, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the private parameters as the constructor makes them: alike for all devices, which then part."""
        return np.tile(self.private_start, (len(devices), 1))

    @property
    def private_start(self) -> NDArray[np.float32]:
        """A row of the private parameters of a device that has not trained yet, shape (width,)."""
        values = self.blueprint.beginning(1, 0)
        parts = [values[name].reshape(-1) for name in self.private_shapes()]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def steps(self, plays: Plays, key: int | np.uint64, items: int) -> Steps:
        """Return what a device trains on in a round."""
        plan = self.blueprint
        if plan.task == "sequence":
            return sequence_steps(plays, key, items, epochs=self.epochs, length=plan.length, negatives=self.negatives)
        return pointwise_steps(plays, key, items, epochs=self.epochs, batch=self.batch, negatives=self.negatives)

    def fitting_steps(self, plays: Plays, items: int) -> Steps:
        """Return what private parameters are fitted on: recent plays count for more where ``recency`` says so."""
        longer, key = self.model_copy(update={"epochs": self.fit_epochs}), fingerprint(plays.items)
        if self.blueprint.task == "sequence" or not len(plays):
            return longer.steps(plays, key, items)
        weights = query_weights(plays, self.recency)
        return pointwise_steps(
            plays,
            key,
            items,
            epochs=self.fit_epochs,
            batch=self.batch,
            negatives=self.negatives,
            weights=weights / weights.mean(),
        )

    def personalise(self, shared: Shared, plays: Plays) -> Private:
        """Fit the private parameters to the shared ones as they are: the same for the same plays."""
        from fedpersona.taste.gradient.model import as_private
        from fedpersona.taste.neural.descent import descend

        private = as_private(self.private_start, self.private_shapes())
        if not private.arrays:
            return private
        items = len(next(iter(self._tables(shared).values())))
        return descend(self, shared, private, self.fitting_steps(plays, items), frozen=True)[0]

    def train(self, shared: Shared, private: Private, plays: Plays, key: int | np.uint64) -> tuple[Private, Update]:
        """Take the steps of one round; what the parameters moved by, all together, is shortened to ``longest``."""
        from fedpersona.taste.neural.descent import descend

        items = len(next(iter(self._tables(shared).values())))
        private, moved = descend(self, shared, private, self.steps(plays, key, items))
        length = float(np.sqrt(sum(float(np.square(array).sum()) for array in moved.values())))
        factor = min(1.0, self.longest / length if length else 1.0)
        return private, Update({name: array * factor for name, array in moved.items()})

    def scores(self, shared: Shared, private: Private, plays: Plays) -> NDArray[np.float64]:
        """Return the module's logit of every item."""
        from fedpersona.taste.neural.scores import score_all

        return score_all(self.blueprint, shared, private, plays).astype(np.float64)

    def _tables(self, shared: Shared) -> dict[str, NDArray[np.float32]]:
        return {name: shared[name] for name in self.blueprint.tables}
