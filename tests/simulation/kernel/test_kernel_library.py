"""A kernel that is missing, stale or broken is refused in a sentence, and the package is built without a compiler."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

import pytest

from fedpersona.simulation.kernel import VARIANTS, library
from fedpersona.simulation.kernel.job import VERSION, Job

REPOSITORY = Path(__file__).parents[3]
module = sys.modules["fedpersona.simulation.kernel.library"]


@pytest.fixture
def hatch_build():
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)
    return built


def built_kernel() -> Path:
    return Path(module.__file__).parent / module.built_name()


def test_the_kernel_says_what_it_was_compiled_for(kernel):
    assert kernel.description in VARIANTS
    assert library() is kernel  # opened once


def test_a_kernel_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(module, "VERSION", 99)
    found, why = module.open_library(built_kernel())
    assert found is None
    assert f"is of version {VERSION}, this package needs 99" in why
    assert "python hatch_build.py" in why


def test_a_kernel_with_another_struct_is_refused(monkeypatch):
    class Longer(Job):
        _fields_ = (("more", ctypes.c_int64),)

    monkeypatch.setattr(module, "Job", Longer)
    found, why = module.open_library(built_kernel())
    assert found is None
    assert "its struct has" in why


def test_a_job_of_another_version_is_not_run(kernel):
    assert kernel.functions.kernel_run(Job(version=99), None, 1, 1) == -1


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "kernel.so"
    path.write_bytes(b"no library")
    found, why = module.open_library(path)
    assert found is None
    assert why.startswith("the compiled kernel cannot be opened")


def test_a_kernel_that_was_not_built_is_said_to_be_missing(monkeypatch):
    monkeypatch.setattr(module, "built_name", lambda: "not-there.so")
    found, why = module._opened.__wrapped__()
    assert found is None
    assert why.startswith("the compiled kernel was not built")


def test_a_build_without_a_compiler_says_so(hatch_build, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert hatch_build.build(tmp_path) == "no C compiler was found (no-such-compiler)"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hatch_build.build(tmp_path) == "no C compiler was found (cc, gcc or clang)"


def test_a_compiler_that_fails_leaves_no_kernel_and_says_so(hatch_build, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", f"{sys.executable} -c 'raise SystemExit(\"broken\")'")
    assert hatch_build.build(tmp_path) == "the C compiler failed: broken"
    assert not list(tmp_path.rglob("*cohort*"))
