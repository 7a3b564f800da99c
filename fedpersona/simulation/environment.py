"""What a run ran on, so that its figures can be made again. No host name, no user name, no path."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fedpersona.simulation.kernel import library
from fedpersona.simulation.kernel.job import VERSION

__all__ = ["PACKAGES", "compiled_kernel", "git_revision", "versions"]

PACKAGES = ("fedpersona", "numpy", "scipy", "pydantic", "safetensors", "matplotlib", "rich", "typer", "torch", "ray")
"""Installed packages that a record names."""


def installed(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that figures depend on, with the kind of machine."""
    found = {name: number for name in PACKAGES if (number := installed(name))}
    return {
        "python": platform.python_version(),
        **found,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def compiled_kernel() -> str:
    """Return which compiled kernel trains factor models here, in words."""
    return "no compiled kernel" if library() is None else f"the compiled kernel of version {VERSION}"


def git_revision() -> str | None:
    """Return the revision of the checkout that the package runs from, with ``+`` where files were changed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return None
    return revision + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the person uses
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
