"""A process that is killed half-way loses no answer that was recorded, and breaks no chain."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_consents_survive_being_killed_at_any_moment():
    done = subprocess.run(
        [sys.executable, "-m", "tests.device.consent_killed", "12"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all whole" in done.stdout
