"""The folder a run leaves: whole under its final name, or not there at all."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedpersona.errors import ConfigError, DataError, DataNotFound, OutputError
from fedpersona.simulation.checkpoint import FOLDER
from fedpersona.simulation.experiment import Run
from fedpersona.simulation.keeping import Keeping
from fedpersona.simulation.new_folder import beside
from fedpersona.taste import Shared, TasteModel, create

__all__ = ["check_writable", "default_folder", "read_model", "write_run"]

_HEADER = "fedpersona model 1"
_OWN = "torch:"
"""What the names of modules begin with that come from a file of one's own."""


def default_folder(dataset: str, model: str, root: Path = Path("runs")) -> Path:
    """Return the first free ``runs/<dataset>-<model>[-n]``."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(dataset).stem if "/" in dataset or "\\" in dataset else dataset)
    stem = stem.removesuffix(".npz").removesuffix(".json")
    stem = f"{stem}-{re.sub(r'[^A-Za-z0-9._-]+', '-', model)}"
    folder, number = root / stem, 2
    while folder.exists():
        folder, number = root / f"{stem}-{number}", number + 1
    return folder


def check_writable(folder: Path) -> None:
    """Check, before any work, that a run can be left in ``folder``.

    Raises:
        OutputError: the folder is there already and not empty, or cannot be made.
    """
    if folder.is_symlink() or folder.name in ("", ".."):
        raise OutputError(f"{folder}: name a new folder with --out, not a link or the folder you are in")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is there already; name another folder with --out, or move it away")
    with beside(folder):
        pass


def write_run(run: Run, folder: Path, *, report: bool = True, keeping: Keeping | None = None) -> None:
    """Write record, per-person figures, model and report, then give the folder its name in one step.

    Where ``keeping`` left a checkpoint of the run in the folder, the files are put next to it, ``run.json`` last, and
    then it is removed: until then the run can be gone on with.

    Raises:
        OutputError: the folder cannot be written; nothing is left under its name then, or the checkpoint alone.
    """
    with beside(folder) as partial:
        (partial / "run.json").write_text(run.record.model_dump_json(indent=2) + "\n")
        figures: dict[str, Any] = {"person_ids": run.evaluation.people, **run.evaluation.per_person}
        np.savez(partial / "per_person.npz", **figures)
        model = save(
            {name: np.ascontiguousarray(array) for name, array in run.shared.arrays.items()},
            # One key: several would be written in an order that changes from process to process.
            metadata={_HEADER: json.dumps(_header(run))},
        )
        (partial / "model.safetensors").write_bytes(model)
        if report:
            from fedpersona.simulation.report import write_report  # matplotlib: only where something is drawn

            write_report(run.record, run.shared, run.split.catalogue, partial)
        if keeping is not None and keeping.claimed:
            _beside_checkpoint(partial, folder)
            return
        if folder.exists():  # an empty folder of that name: os.rename replaces it on POSIX only
            folder.rmdir()
        partial.rename(folder)


def _beside_checkpoint(partial: Path, folder: Path) -> None:
    if (folder / "run.json").exists():
        raise OutputError(f"{folder}: another process finished this run")
    for file in sorted(partial.iterdir(), key=lambda file: file.name == "run.json"):
        file.replace(folder / file.name)
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _header(run: Run) -> dict[str, Any]:
    return {
        "model": run.shared.model,
        "settings": run.record.settings,
        "catalogue": run.shared.catalogue,
        "round": run.shared.round_number,
        "hash": run.shared.hash(),
    }


def read_model(folder: Path | str, model: TasteModel | None = None) -> tuple[TasteModel, Shared]:
    """Read the taste model and the shared arrays that a run left.

    Args:
        folder: of the run.
        model: what the arrays are of, where a module of your own was trained: no file names code that is run.

    Raises:
        ConfigError: a module of your own was trained, and it is not given.
        DataNotFound: there are none.
        DataError: the file is not a whole model of this form, or its arrays are not those that were written.
    """
    file = Path(folder) / "model.safetensors"
    try:
        with safe_open(file, framework="numpy") as opened:
            header = json.loads((opened.metadata() or {})[_HEADER])
            own = model is None and str(header["model"]).startswith(_OWN)
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        if model is None and not own:
            model = create(header["model"], header["settings"])
        shared = Shared(header["model"], header["catalogue"], int(header["round"]), arrays)
        whole = shared.hash() == header["hash"]
    except FileNotFoundError:
        raise DataNotFound("no model here: give the folder of a run", path=file) from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise DataError(f"not a whole model of a run ({error}): write it again", path=file) from None
    if model is None:
        raise ConfigError(f"{file}: a module of your own was trained here; give read_model the model too")
    if not whole:
        raise DataError("the arrays are not those that were written: their hash differs", path=file)
    return model, shared
