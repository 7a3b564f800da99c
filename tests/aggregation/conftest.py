"""A server's database, and a clock that stands still."""

import pytest

from fedpersona.aggregation.database import Database


class Clock:
    def __init__(self):
        self.now = 2_000_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "fedpersona.db") as database:
        yield database


@pytest.fixture
def clock():
    return Clock()
