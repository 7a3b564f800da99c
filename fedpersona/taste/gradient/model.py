"""Taste models that devices train by gradient descent, round after round, and whose mean update a server follows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedpersona.catalogue import Catalogue
from fedpersona.plays import Plays
from fedpersona.taste.gradient.optimisers import ServerName, ServerOptimiser
from fedpersona.taste.model import Private, Range, Shared, TasteModel
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.update import Update

__all__ = ["GradientModel", "as_private", "as_row"]


class GradientModel(TasteModel):
    """A model whose update is what the shared arrays moved by while a device trained them on its plays.

    Where :attr:`remembers` is true, the private part goes on from round to round, as in the papers: a simulation keeps
    it for each of its devices. A device that keeps none begins with ``personalise``, from its plays and the shared
    model alone.
    """

    remembers: ClassVar[bool] = True
    costs: ClassVar[tuple[float, float, float]] = (4e-8, 3e-5, 0.0)
    """Seconds for each number of a sample, for a step, and for each number of a step, as measured."""

    rounds: int = Field(100, ge=1, le=100_000)
    epochs: int = Field(1, ge=1, le=1000)
    """Passes over a device's plays in a round."""
    batch: int = Field(64, ge=1, le=1_000_000)
    """Samples of one step on a device."""
    negatives: int = Field(4, ge=1, le=1000)
    """Items not played, for each that was."""
    lr: float = Field(1.0, gt=0, le=1e6)
    """Step on the device."""
    prox: float = Field(0.0, ge=0, le=1e6)
    """FedProx (Li et al. 2020): how strongly a device is held to the shared model that it began with."""
    longest: float = Field(16.0, ge=1e-6, le=1e6)
    """Longest update of a device, in the Euclidean norm over all shared arrays: longer ones are shortened to it."""
    server: ServerName = "sgd"
    """How the server follows the mean update."""
    server_lr: float = Field(1.0, gt=0, le=1e6)
    server_beta1: float = Field(0.9, ge=0, lt=1)
    server_beta2: float = Field(0.99, ge=0, lt=1)
    server_tau: float = Field(1e-3, gt=0, le=1e3)

    def demand(self, plays: int, items: int) -> tuple[float, float]:
        """Return about what a round asks of a device that keeps nothing: seconds of one core, and bytes.

        As measured on a shared x86-64 core; a slow phone takes several times that.

        Args:
            plays: items of the history.
            items: rows of the catalogue.
        """
        passes = self.epochs + getattr(self, "fit_epochs", 0) + getattr(self, "rebuild_epochs", 0)
        a_pass = plays * (1 + self.negatives)
        steps = passes * -(-a_pass // self.batch)
        numbers = sum(prod(shape) for shape in self.shared_shapes(1).values())
        a_number, a_step, a_step_number = self.costs
        seconds = passes * a_pass * (1e-6 + a_number * numbers) + steps * (a_step + a_step_number * numbers)
        if self.prox:  # every row is drawn back after every step
            seconds += steps * 1e-9 * numbers * min(items, passes * a_pass)
        return seconds, 40.0 * passes * a_pass + 24.0 * min(self.batch, a_pass) * numbers

    @property
    def optimiser(self) -> ServerOptimiser:
        """What the server follows the mean update with."""
        return ServerOptimiser(
            name=self.server, lr=self.server_lr, beta1=self.server_beta1, beta2=self.server_beta2, tau=self.server_tau
        )

    @abstractmethod
    def shared_shapes(self, items: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the shared arrays for a catalogue of so many items, by name."""

    @abstractmethod
    def private_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the private part that goes on from round to round; empty where there is none."""

    @abstractmethod
    def begin(self, seed: int, devices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the private parts of devices before their first round, a row each: :func:`as_row`.

        The same for a device whichever others are asked for.
        """

    @abstractmethod
    def train(self, shared: Shared, private: Private, plays: Plays, key: int | np.uint64) -> tuple[Private, Update]:
        """Device: train for one round; return the private part after it, and the update, no longer than ``longest``.

        Args:
            shared: the model that the round starts from.
            private: as it was left, or ``personalise`` made it.
            plays: the history.
            key: begins all that the device draws in the round.
        """

    def layout(self, catalogue: Catalogue, round_number: int) -> Layout:
        """Declare what the shared arrays move by; of length 1 in units of ``longest`` in the private form."""
        shapes = self.shared_shapes(len(catalogue))
        specs = (ArraySpec(name, shape, bound=self.longest) for name, shape in shapes.items())
        return Layout(tuple(specs), length=1.0 if self.noise else None)

    def shapes(self, shared: Shared, catalogue: Catalogue) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the shared arrays."""
        return self.shared_shapes(len(catalogue))

    def ranges(self) -> Mapping[str, Range]:
        """Return a range that no training that went well leaves."""
        return dict.fromkeys(self.shared_shapes(1), (-1e6, 1e6))

    def contribute(self, shared: Shared, private: Private, plays: Plays, rng: np.random.Generator) -> Update:
        """Train for one round, and add what the shared arrays moved by."""
        return self.train(shared, private, plays, rng.integers(0, 2**64, dtype=np.uint64))[1]

    def apply(self, shared: Shared, total: Update, count: int) -> Shared:
        """Follow the mean update."""
        arrays, kept, optimiser = {}, {}, self.optimiser
        for name, array in shared.arrays.items():
            arrays[name], moments = optimiser.step(name, array, total[name], count, shared.kept)
            kept.update(moments)
        return shared.next(kept, **arrays)


def as_row(private: Private, shapes: Mapping[str, tuple[int, ...]]) -> NDArray[np.float32]:
    """Return a private part as one row of numbers, float32: its arrays one after another."""
    parts = [np.asarray(private[name], np.float32).reshape(-1) for name in shapes]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def as_private(row: NDArray[np.floating], shapes: Mapping[str, tuple[int, ...]]) -> Private:
    """Return the private part that a row holds, float64."""
    arrays, place = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=np.int64))
        arrays[name] = row[place : place + size].astype(np.float64).reshape(shape)
        place += size
    return Private(arrays)
