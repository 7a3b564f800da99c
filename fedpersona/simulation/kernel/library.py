"""Finds and opens the compiled kernel, if the package was built with one."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fedpersona.simulation.kernel.job import VERSION, Job

__all__ = ["VARIANTS", "Library", "absence", "built_name", "library"]

VARIANTS = ("any processor", "AVX2", "AVX-512")
"""What the kernel is compiled for, in the order of its numbers from 1; other processors have the first alone."""

_REBUILD = "build it with `pip install` where a C compiler is, or with `python hatch_build.py` in a checkout"


@dataclass(frozen=True, eq=False)
class Library:
    """The opened kernel."""

    functions: ctypes.CDLL
    best: int
    """Number of the best variant that this processor runs."""
    lock_bytes: int
    """Memory that threads need for their locks."""

    @property
    def description(self) -> str:
        """What it was compiled for, of what runs here."""
        return VARIANTS[self.best - 1]


def built_name() -> str:
    """Return the file name of the built kernel on this system."""
    return "_cohort" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")


@cache
def _opened() -> tuple[Library | None, str]:
    """Open the kernel: it, or why there is none."""
    path = Path(__file__).parent / built_name()
    if not path.is_file():
        return None, f"the compiled kernel was not built: {_REBUILD}"
    return open_library(path)


def open_library(path: Path) -> tuple[Library | None, str]:
    """Open the kernel in a file: it, or why it is of no use."""
    try:
        functions = ctypes.CDLL(str(path))
        version, size = functions.kernel_version(), functions.kernel_job_size()
    except (OSError, AttributeError) as error:
        return None, f"the compiled kernel cannot be opened ({error}): {_REBUILD}"
    if (version, size) != (VERSION, ctypes.sizeof(Job)):
        return None, (
            f"the compiled kernel is of version {version}, this package needs {VERSION} "
            f"(its struct has {size} bytes, not {ctypes.sizeof(Job)}): {_REBUILD}"
        )
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    functions.lane_new.argtypes, functions.lane_new.restype = [number, number], pointer
    functions.lane_free.argtypes, functions.lane_free.restype = [pointer], None
    functions.kernel_run.argtypes = [ctypes.POINTER(Job), pointer, number, ctypes.c_int32]
    functions.kernel_run.restype = number
    functions.kernel_drain.argtypes, functions.kernel_drain.restype = [pointer, pointer, number], None
    return Library(functions, functions.kernel_variants(), functions.kernel_lock_bytes()), ""


def library() -> Library | None:
    """Return the kernel, opened once; None where there is none."""
    return _opened()[0]


def absence() -> str:
    """Say why there is no kernel, and what to do; empty where there is one."""
    return _opened()[1]
