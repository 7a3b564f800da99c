"""What importing fedpersona costs, and what it brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fedpersona


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_importing_brings_neither_torch_nor_flwr_nor_ray_nor_plots():
    heavy = "{'torch', 'flwr', 'ray', 'matplotlib', 'scipy', 'numpy', 'pydantic'}"
    assert run(f"import fedpersona, sys; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_importing_is_cheap():
    """The best of three: under 0.3 s even while other tests keep the machine busy."""
    code = "import time; t = time.process_time(); import fedpersona; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_the_simulator_and_the_command_line_bring_neither_torch_nor_flwr_nor_ray():
    code = (
        "import fedpersona.cli, fedpersona.simulation, sys; print(sorted({'torch', 'flwr', 'ray'} & set(sys.modules)))"
    )
    assert run(code) == "[]"


ENTRIES = (
    "fedpersona.device.node", "fedpersona.flower", "fedpersona.aggregation.serverapp",
    "fedpersona.simulation.local_grid",
    "clients.app", "server.app",
)  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_flower_tells_nobody_that_it_runs_whichever_way_it_is_entered(entry):
    code = (
        "import os; [os.environ.pop(name, None) for name in ('FLWR_TELEMETRY_ENABLED', 'FLWR_DISABLE_UPDATE_CHECK')]; "
        f"import {entry}; from flwr.supercore import telemetry; print(telemetry.FLWR_TELEMETRY_ENABLED, "
        "os.environ['FLWR_DISABLE_UPDATE_CHECK'])"
    )
    assert run(code) == "0 1"


@pytest.mark.parametrize("name", fedpersona.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fedpersona, name) is not None
    assert name in dir(fedpersona)


def test_every_public_name_has_a_home():
    assert set(fedpersona.__all__) - {"__version__"} == set(fedpersona._HOMES)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = fedpersona.nothing_here
