"""What the pages and doors of the front share: the configuration and the server's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.database import Database
    from fedpersona.aggregation.front.watch import Watch
    from fedpersona.aggregation.journal import Journal
    from fedpersona.aggregation.registry import Registry
    from fedpersona.aggregation.roster import Roster
    from fedpersona.aggregation.trainings import Trainings

__all__ = ["Server"]


@dataclass(frozen=True)
class Server:
    """What endpoints find at ``request.app.state.server``."""

    config: ServerConfig
    database: Database
    roster: Roster
    journal: Journal
    registry: Registry
    trainings: Trainings
    watch: Watch
    """What of it is kept in memory, so that a request needs no look into the database."""
    log: FilteringBoundLogger
