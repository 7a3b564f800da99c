import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_killing_at_random_moments_loses_no_listen_and_breaks_no_chain():
    command = [sys.executable, str(SCRIPT), "--rounds", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("killed 20 times")
