"""A few seconds of fuzzing, where atheris is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_parsers.py")


def test_a_short_fuzzing_finds_nothing(tmp_path):
    pytest.importorskip("atheris")
    # In a process of its own: it instruments what it imports, and leaves by itself.
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--seconds", "5"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr
