"""Whether a training may go on from a checkpoint: with all that decides its bits as it was in the beginning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError
from fedpersona.simulation.checkpoint import Checkpoint
from fedpersona.simulation.kernel import absence
from fedpersona.simulation.record import RunConfig
from fedpersona.taste import GradientModel, TasteModel

__all__ = ["Facts", "check_same"]


@dataclass(frozen=True, eq=False)
class Facts:
    """What a checkpoint says of its run, beside the rounds."""

    config: RunConfig
    question: str
    data_hash: str
    versions: dict[str, str]
    started: str
    model: TasteModel
    catalogue: Catalogue
    code_hash: str | None = None
    """SHA-256 of the file that the model's module came in; None of a model that is part of this package."""
    kernel: str | None = None
    """Which compiled kernel trains it, in words; None where none does."""


def check_same(before: Checkpoint, facts: Facts, folder: Path) -> None:
    """Check that a training goes on with what it began with.

    Args:
        before: the checkpoint.
        facts: what would go on.
        folder: of the run.

    Raises:
        DataError: something else would go on, or the checkpoint does not fit its own configuration.
    """
    if (before.question, before.data_hash) != (facts.question, facts.data_hash):
        raise DataError("the data are not those that this run began with", path=facts.config.dataset)
    if before.code_hash != facts.code_hash:
        raise DataError(
            "the file is not the one that this run began with: put it back as it was, or begin the run anew",
            path=facts.config.model,
        )
    if before.kernel != facts.kernel:
        why = f" ({absence()})" if absence() and facts.kernel is not None else ""
        raise DataError(
            f"this run began with {_named(before.kernel)}, and here is {_named(facts.kernel)}{why}, by which the last "
            "bits would differ: go on where it is as it was, or begin the run anew",
            path=folder,
        )
    misfit = _misfit(before, facts)
    if misfit:
        raise DataError(f"the checkpoint does not fit its run: {misfit}; this run has to begin anew", path=folder)


def _named(kernel: str | None) -> str:
    return "a model that no kernel trains" if kernel is None else kernel


def _misfit(before: Checkpoint, facts: Facts) -> str:
    """Say what of a checkpoint cannot be of a run with this configuration; empty where all can."""
    model, so_far, done = facts.model, before.so_far, before.round_number
    shared = so_far.shared
    if shared is None or shared.model != model.name:
        return f"it is of the model {'none' if shared is None else shared.model}, the run is of {model.name}"
    planned = model.planned_rounds(facts.catalogue)
    if done > planned:
        return f"it has {done:,} rounds, the run plans {planned:,}"
    for found in (shared, *so_far.models.values()):
        if (found.model, found.catalogue) != (model.name, facts.catalogue.version):
            return f"it has a model of another catalogue, or a {found.model}"
        shapes = {name: array.shape for name, array in found.arrays.items()}
        if set(shapes) != set(shared.arrays) or shapes != dict(model.shapes(found, facts.catalogue)):
            return f"the arrays of its model are not of the shapes that the settings of {model.name} give"
    remembers = isinstance(model, GradientModel) and model.remembers
    if remembers != (before.private is not None) or set(so_far.kept) != (set(so_far.models) if remembers else set()):
        return f"what devices keep {'is missing' if remembers else f'is there, and {model.name} keeps nothing'}"
    if done == planned and done not in so_far.models:
        return "the last model is missing from its curve"
    return ""
