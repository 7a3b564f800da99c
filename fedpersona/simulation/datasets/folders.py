"""Where the original files of a real dataset lie: a folder that a person names, never the repository."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fedpersona.errors import DataNotFound

__all__ = ["VARIABLE", "Original", "data_folder", "expanded"]

VARIABLE = "FEDPERSONA_DATA"
"""The environment variable that names the folder where no ``--data`` does."""


def data_folder(data: Path | None) -> Path | None:
    """Return the folder named by the option, else the one named by the environment, else None."""
    if data is not None:
        return expanded(data)
    named = os.environ.get(VARIABLE, "")
    return expanded(Path(named)) if named else None


def expanded(path: Path) -> Path:
    """Return the path with ``~`` replaced by the home folder; as it is where that user has none."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


@dataclass(frozen=True)
class Original:
    """A dataset as its publisher gives it out."""

    name: str
    """What ``fedpersona simulate`` calls it."""
    folders: tuple[str, ...]
    """The names that its unpacked folder goes by."""
    files: tuple[str, ...]
    """The files that it cannot be read without, the most telling first."""
    page: str
    """Where a person gets it."""
    terms: str
    """What its publisher allows, in a few words."""

    def find(self, data: Path | None) -> Path | None:
        """Return the dataset's folder, which is ``data`` itself or lies in it; None where neither is so."""
        if data is None:
            return None
        for folder in (*(data / name for name in self.folders), data):
            if (folder / self.files[0]).is_file():
                return folder
        return None

    def locate(self, data: Path | None) -> Path:
        """Return the dataset's folder, with every file that is needed in it.

        Raises:
            DataNotFound: no folder was named, or it lacks the files; the message says where to get them.
        """
        folder = self.find(data)
        if folder is None:
            looked = f"{self.name} is not there" if data else f"{self.name} is not part of fedpersona"
            raise DataNotFound(f"{looked}: {self._how_to_get}", path=data)
        for name in self.files:
            if not (folder / name).is_file():
                raise DataNotFound(f"this file of {self.name} is missing: {self._how_to_get}", path=folder / name)
        return folder

    @property
    def _how_to_get(self) -> str:
        return (
            f"get it from {self.page} ({self.terms}), unpack it, and name the folder that holds "
            f"{self.folders[-1]}/ with --data or {VARIABLE}"
        )
