"""What a server's database remembers of the budget's account, so that no older copy of it passes for the account."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from fedpersona.aggregation.budget_file import Mark
from fedpersona.aggregation.database import Database, budget, versions
from fedpersona.errors import BudgetDamaged

__all__ = ["METADATA", "halt", "halted_at", "metadata", "remember", "remembered"]

METADATA = "budget"
"""Under this name a registered model tells how far the account had come."""


def remembered(database: Database) -> list[Mark]:
    """Return all places that the account is known to have reached: by its own row, and by the registered models."""
    with database.reading() as connection:
        own = _own(connection)
        told = connection.scalars(select(versions.c.metrics).order_by(versions.c.number)).all()
    found = [own] if own is not None else []
    return found + [mark for metrics in told if (mark := _told(metrics)) is not None]


def remember(database: Database, mark: Mark) -> None:
    """Remember how far the account has come. It is on the disk when this returns.

    Raises:
        BudgetDamaged: it is another account, or one that came further before.
    """
    with database.writing() as connection:
        own = _own(connection)
        if own is None:
            connection.execute(budget.insert().values(id=1, account=mark.account, number=mark.number, head=mark.head))
            return
        if own.account != mark.account or own.number > mark.number:
            raise BudgetDamaged(
                "the account of the privacy budget is another one than the database knows, or an older one: "
                "put the newest copy back, as docs/server.md says"
            )
        connection.execute(budget.update().values(number=mark.number, head=mark.head))


def metadata(mark: Mark, epsilon: float) -> dict[str, Any]:
    """Return what is kept with a registered model."""
    return {METADATA: {"account": mark.account, "number": mark.number, "head": mark.head, "epsilon": epsilon}}


def halt(database: Database, terms: str) -> None:
    """Remember that no training is to begin as long as the account and these terms stay as they are."""
    with database.writing() as connection:
        connection.execute(budget.update().values(halted=_under(connection, terms)))


def halted_at(database: Database, terms: str) -> bool:
    """Tell whether it was said that no training is to begin with the account and the terms as they are."""
    with database.reading() as connection:
        halted = connection.scalar(select(budget.c.halted))
        return halted is not None and halted == _under(connection, terms)


def _under(connection: Connection, terms: str) -> str:
    own = _own(connection)
    return f"{'' if own is None else own.head} {terms}"


def _own(connection: Connection) -> Mark | None:
    row = connection.execute(select(budget)).one_or_none()
    return None if row is None else Mark(row.account, row.number, row.head)


def _told(metrics: Any) -> Mark | None:
    found = metrics.get(METADATA) if isinstance(metrics, dict) else None
    if not isinstance(found, dict):
        return None
    return Mark(found["account"], found["number"], found["head"])
