"""A run to follow."""

from __future__ import annotations

import pytest

from fedpersona.simulation import RunConfig, simulate
from fedpersona.simulation.keeping import Keeping
from tests.conftest import hold_out, invent


@pytest.fixture
def config():
    settings = {"dim": 3, "rounds": 4}
    return RunConfig(
        dataset="invented", model="subspace", settings=settings, ceiling=False, evaluate_every=2, data="/home/someone"
    )


@pytest.fixture
def follow(config):
    """Run with callbacks; returns the run."""

    def run(*callbacks, keeping: Keeping | None = None, narrator=None, **changes):
        split = hold_out(invent())
        return simulate(config.model_copy(update=changes), narrator, split, callbacks=callbacks, keeping=keeping)

    return run
