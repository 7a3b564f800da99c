"""Builds the compiled cohort kernel into the package: for wheels, for `pip install -e`, and by `python hatch_build.py`.

Where there is no C compiler, or it fails, the package is built without: the readable reference runs in its place.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_KERNEL = Path("fedpersona") / "simulation" / "kernel"
_BUILT = _KERNEL / ("_cohort" + {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so"))

# No contraction and no fast mathematics: the order of every operation is the source's, and so are the bits of results.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fwrapv", "-fPIC", "-fvisibility=hidden", "-Wno-psabi")
_X86 = {"v3": "-march=x86-64-v3", "v4": "-march=x86-64-v4"}
"""Variants for newer processors; which one runs is decided where the kernel is opened."""


def compiler() -> list[str] | None:
    """Return the command of the C compiler: $CC, or the first that is there; None without."""
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def build(root: Path) -> str:
    """Compile the kernel in a source tree; return why that did not work, empty where it did."""
    command = compiler()
    if command is None:
        return f"no C compiler was found ({os.environ.get('CC') or 'cc, gcc or clang'})"
    source, built = root / _KERNEL / "source", root / _BUILT
    x86 = _X86 if platform.machine() in ("x86_64", "AMD64") else {}
    with tempfile.TemporaryDirectory() as folder:
        running = {
            variant: _start(command, source / "cohort.c", Path(folder) / f"{variant}.o", f"-DVARIANT={variant}", *flags)
            for variant, flags in {"plain": (), **{name: (flag,) for name, flag in x86.items()}}.items()
        }
        said = {variant: (process.communicate()[0], process.returncode) for variant, process in running.items()}
        if said["plain"][1]:
            return f"the C compiler failed: {said['plain'][0].strip()}"
        good = [variant for variant, (_, code) in said.items() if not code]  # an old compiler does not know the others
        have = [f"-DHAVE_{variant.upper()}" for variant in good]
        objects = [f"{folder}/{variant}.o" for variant in good]
        whole = Path(folder) / built.name
        linking = _start(command, source / "dispatch.c", whole, "-shared", *objects, *have, compile_only=False)
        output = linking.communicate()[0]
        if linking.returncode:
            return f"the C compiler failed: {output.strip()}"
        partial = built.with_name(f".{built.name}.{os.getpid()}")
        shutil.copy(whole, partial)
        partial.replace(built)  # a process that has the old one open keeps it
    return ""


def _start(
    command: list[str], source: Path, target: Path, *flags: str, compile_only: bool = True
) -> subprocess.Popen[str]:
    how = ["-c"] if compile_only else []
    return subprocess.Popen(  # noqa: S603 - the compiler, on sources of this tree
        [*command, *_FLAGS, *how, str(source), *flags, "-o", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _platform_tag() -> str:
    """Return the tag of a wheel with a library but no extension module: any Python 3, this platform."""
    from packaging.tags import sys_tags  # hatchling has it

    plain = (tag.platform for tag in sys_tags() if not tag.platform.startswith(("manylinux", "musllinux")))
    return f"py3-none-{next(plain)}"


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself
    pass
else:

    class KernelHook(BuildHookInterface[Any]):
        """Compiles the kernel before a wheel is packed or an editable install is made."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build, and say what is in the wheel."""
            root = Path(self.root)
            problem = build(root)
            if problem:
                self.app.display_warning(f"fedpersona is built without its compiled kernel: {problem}")
                (root / _BUILT).unlink(missing_ok=True)
                return
            build_data["artifacts"].append(_BUILT.as_posix())
            build_data["pure_python"] = False
            build_data["tag"] = _platform_tag()


if __name__ == "__main__":
    failure = build(Path(__file__).parent)
    sys.exit(f"the compiled kernel was not built: {failure}" if failure else 0)
