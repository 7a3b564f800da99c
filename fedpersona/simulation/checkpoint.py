"""What a long training leaves on the way, so that it can go on where it was: whole on the disk, or not there at all.

::

    runs/x/checkpoint/
        models/000010.safetensors   a model that the curve needs, written once
        round-000040/               the last whole checkpoint
            shared.safetensors      the model, and the moments of the server's optimiser
            private.npy             what devices keep, where the model remembers
            state.json              all else, with the hashes of the files above

A folder gets its name when all of it is on the disk; the one before is removed after that. A process that is killed at
any moment leaves the last whole checkpoint, and at most something half-written whose name begins with a dot.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedpersona.aggregation import RoundReport
from fedpersona.errors import DataError, DataNotFound, OutputError
from fedpersona.simulation.mapped_array import sync
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.record import RunConfig
from fedpersona.taste import Shared

__all__ = ["FOLDER", "Checkpoint", "SoFar", "last_round", "read_checkpoint", "write_checkpoint"]

FOLDER = "checkpoint"
"""Its name in the folder of a run."""
_PRIVATE = "private.npy"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    catalogue: str
    round_number: int
    hash: str
    file: str
    """SHA-256 of the file."""


@dataclass(eq=False)
class SoFar:
    """A training so far; it is filled in round by round."""

    shared: Shared | None = None
    """The model after the last round; None before the first."""
    reports: list[RoundReport] = field(default_factory=list)
    models: dict[int, Shared] = field(default_factory=dict)
    """Models of the curve by round."""
    kept: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """What the devices of the watched people kept after those rounds."""
    measured: dict[int, float] = field(default_factory=dict)
    """NDCG@10 on validation items by round, where it was measured on the way."""
    written: dict[int, _Model] = field(default_factory=dict)
    """Models of the curve that are on the disk."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a training needs to go on."""

    config: RunConfig
    question: str
    """Of the split, and the hash of the population: what was learned from."""
    data_hash: str
    versions: Mapping[str, str]
    started: str
    seconds: float
    """Wall time of the training so far."""
    resumed: list[int]
    so_far: SoFar
    private: Path | None = None
    """A copy of what devices keep; None where the model remembers nothing."""
    code_hash: str | None = None
    """SHA-256 of the file that the model's module came in; None of a model that is part of this package."""
    kernel: str | None = None
    """Which compiled kernel trained, in words; None of a model that none trains."""

    @property
    def round_number(self) -> int:
        """Rounds that are done."""
        return len(self.so_far.reports)


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedpersona checkpoint 1"] = "fedpersona checkpoint 1"
    config: RunConfig
    question: str
    data_hash: str
    versions: dict[str, str]
    code_hash: str | None
    kernel: str | None
    started: str
    seconds: float
    resumed: list[int] = Field(default_factory=list)
    reports: list[RoundReport]
    measured: dict[int, float]
    shared: _Model
    models: dict[int, _Model]
    private: str | None
    """SHA-256 of the file."""


def last_round(folder: Path) -> int | None:
    """Return the round of the last whole checkpoint in the folder of a run; None where there is none."""
    whole = _whole(folder / FOLDER)
    return int(whole[-1].name.removeprefix("round-")) if whole else None


def write_checkpoint(folder: Path, checkpoint: Checkpoint, privates: PrivateTable | None) -> None:
    """Leave a checkpoint in the folder of a run, then remove the one before.

    Raises:
        OutputError: it cannot be written; the one before is there still.
    """
    root = folder / FOLDER
    so_far = checkpoint.so_far
    if so_far.shared is None:
        raise ValueError("before the first round there is nothing to keep")
    name = f"round-{checkpoint.round_number:06d}"
    try:
        (root / "models").mkdir(parents=True, exist_ok=True)
        if (root / name).exists():
            return
        models = {
            number: _save_once(root / "models" / f"{number:06d}.safetensors", number, so_far)
            for number in so_far.models
        }
        with _named_when_whole(root / name) as partial:
            shared = _save(partial / "shared.safetensors", so_far.shared)
            if privates is not None:
                privates.save(partial / _PRIVATE)
            state = _State(
                config=checkpoint.config,
                question=checkpoint.question,
                data_hash=checkpoint.data_hash,
                versions=dict(checkpoint.versions),
                code_hash=checkpoint.code_hash,
                kernel=checkpoint.kernel,
                started=checkpoint.started,
                seconds=checkpoint.seconds,
                resumed=checkpoint.resumed,
                reports=so_far.reports,
                measured=so_far.measured,
                shared=shared,
                models=models,
                private=None if privates is None else _digest(partial / _PRIVATE),
            )
            (partial / "state.json").write_text(state.model_dump_json())
            sync(partial / "state.json")
        for older in root.glob("round-*"):
            if older.name != name:
                shutil.rmtree(older, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{root}: the checkpoint cannot be written ({error.strerror})") from None


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the last whole checkpoint of a run.

    Raises:
        DataNotFound: there is none, or the run is finished.
        DataError: it was changed or cut, or is of another version's format.
    """
    if (folder / "run.json").is_file():
        raise DataNotFound("this run is finished; give its run.json to make it again", path=folder)
    whole = _whole(folder / FOLDER)
    if not whole:
        raise DataNotFound("no checkpoint is here: give the folder of a run that was stopped", path=folder)
    newest = whole[-1]
    state = _read_state(newest / "state.json")
    models, kept = {}, {}
    for number, facts in state.models.items():
        file = folder / FOLDER / "models" / f"{number:06d}.safetensors"
        models[number], rows = _load(file, facts)
        if rows is not None:
            kept[number] = rows
    private = newest / _PRIVATE if state.private else None
    if private is not None and _digest(private) != state.private:
        raise _damaged(private)
    shared, _ = _load(newest / "shared.safetensors", state.shared)
    if [report.round_number for report in state.reports] != list(range(1, shared.round_number + 1)):
        raise _damaged(newest / "state.json")
    if any(number != model.round_number or number > shared.round_number for number, model in models.items()):
        raise _damaged(newest / "state.json")
    return Checkpoint(
        config=state.config,
        question=state.question,
        data_hash=state.data_hash,
        versions=state.versions,
        started=state.started,
        seconds=state.seconds,
        resumed=state.resumed,
        so_far=SoFar(shared, state.reports, models, kept, state.measured, dict(state.models)),
        private=private,
        code_hash=state.code_hash,
        kernel=state.kernel,
    )


def _whole(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("round-*") if path.is_dir())


def _damaged(file: Path) -> DataError:
    return DataError("the checkpoint is damaged: this run has to begin anew", path=file)


def _read_state(file: Path) -> _State:
    try:
        text = file.read_bytes()
        return _State.model_validate_json(text)
    except OSError:
        raise _damaged(file) from None
    except ValidationError as error:
        if any(problem["loc"] == ("format",) for problem in error.errors()):
            raise DataError(
                "another version of fedpersona wrote this checkpoint: go on with that one, or begin anew", path=file
            ) from None
        raise _damaged(file) from None


def _save_once(file: Path, number: int, so_far: SoFar) -> _Model:
    """Write a model of the curve, where a checkpoint that this training knows of did not.

    A file of that name may be there of rounds that a killed process ran after its last whole checkpoint.
    """
    if number not in so_far.written or not file.exists():
        partial = file.with_name(f".{file.name}.partial")
        try:
            facts = _save(partial, so_far.models[number], so_far.kept.get(number))
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        sync(file.parent)
        so_far.written[number] = facts
    return so_far.written[number]


def _save(file: Path, shared: Shared, rows: NDArray[np.float32] | None = None) -> _Model:
    arrays: dict[str, NDArray[Any]] = {f"array {name}": array for name, array in shared.arrays.items()}
    arrays |= {f"kept {name}": array for name, array in shared.kept.items()}
    if rows is not None:
        arrays["rows"] = rows
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)
    except SafetensorError as error:  # also of a full disk
        raise OSError(errno.EIO, str(error)) from None
    sync(file)
    return _facts(file, shared)


def _facts(file: Path, shared: Shared) -> _Model:
    return _Model(
        model=shared.model,
        catalogue=shared.catalogue,
        round_number=shared.round_number,
        hash=shared.hash(),
        file=_digest(file),
    )


def _load(file: Path, facts: _Model) -> tuple[Shared, NDArray[np.float32] | None]:
    """Read a model and the rows that were kept beside it."""
    try:
        if _digest(file) != facts.file:
            raise _damaged(file)
        with safe_open(file, framework="numpy") as opened:
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        raise _damaged(file) from None
    arrays = {name.removeprefix("array "): array for name, array in found.items() if name.startswith("array ")}
    kept = {name.removeprefix("kept "): array for name, array in found.items() if name.startswith("kept ")}
    shared = Shared(facts.model, facts.catalogue, facts.round_number, arrays, kept)
    if shared.hash() != facts.hash:
        raise _damaged(file)
    return shared, found.get("rows")


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        raise _damaged(file) from None


@contextmanager
def _named_when_whole(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``folder``; it gets the name when all that was put into it is on the disk."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        yield partial
        sync(partial)
        partial.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
