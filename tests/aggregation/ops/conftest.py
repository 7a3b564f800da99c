from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedpersona.aggregation.database import Database
from tests.aggregation.ops.asking import Watched
from tests.aggregation.ops.invented import configured, fill


@pytest.fixture
def new(tmp_path) -> Iterator[Watched]:
    """A server in whose life nothing happened yet."""
    config = configured(tmp_path)
    with Database(config.database) as database:
        yield Watched(config, database)


@pytest.fixture
def watched(new: Watched) -> Watched:
    """A server with two trainings behind it."""
    fill(new.config, new.database)
    return new
