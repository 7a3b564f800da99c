"""The operator's page: what the server is doing, its rounds, its models, its health."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from starlette.requests import Request
from starlette.responses import Response

from fedpersona.aggregation import database as tables
from fedpersona.aggregation.budget_words import rounded_up, seen_balance
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal, RoundRecord
from fedpersona.aggregation.ops.charts import Columns, Share, columns, shares
from fedpersona.aggregation.ops.health import look
from fedpersona.aggregation.pages import Pages, moment
from fedpersona.aggregation.registry import Registry, Version
from fedpersona.errors import FedpersonaError

__all__ = ["dashboard", "rounds"]

_PAGES = Pages(Path(__file__).parent / "templates")
_REFRESH = 10  # seconds
_ROUNDS = 40
_TABLE = 12
_MODELS = 10

_HEADLINES: Mapping[str, str] = {
    "idle": "Nothing to do",
    "gathering": "Waiting for devices",
    "training": "Training",
    "waiting": "Waiting to try again",
    "spent": "The privacy budget is spent",
}


@dataclass(frozen=True)
class _Line:
    """One round as the table shows it."""

    name: str
    began: str
    outcome: str
    invited: int
    answered: str
    lost: str
    up: str
    took: str


@dataclass(frozen=True)
class _Model:
    """One version as the table shows it."""

    version: int
    model: str
    made: str
    hit_rate: str
    """Empty where nobody measured it."""
    promoted: bool


def dashboard(request: Request) -> Response:
    """Answer with the page; where the state cannot be read, with one that says so."""
    config: ServerConfig = request.app.state.config
    database: Database = request.app.state.database
    findings = look(config, database)
    try:
        found = _overview(config, database)
    except FedpersonaError as error:
        return _PAGES.draw(
            "trouble.html", status=503, refresh=_REFRESH, federation=config.federation.name, words=str(error)
        )
    return _PAGES.draw(
        "dashboard.html",
        federation=config.federation.name,
        address=config.server.address,
        refresh=_REFRESH,
        now=moment(time.time()),
        findings=findings,
        **found,
    )


def rounds(database: Database, limit: int = 100) -> list[dict[str, Any]]:
    """Return the last rounds, the newest first, as JSON has them."""
    return [asdict(one) for one in Journal(database).rounds(limit)]


def _overview(config: ServerConfig, database: Database) -> dict[str, Any]:
    journal = Journal(database)
    registry = Registry(database, config.models)
    condition = journal.state()
    last = journal.rounds(_ROUNDS)
    promoted = registry.promoted()
    models = [_model(one, promoted) for one in registry.versions()[:_MODELS]]
    ended = {counter.labels.get("outcome"): counter.value for counter in journal.counters() if counter.name == "rounds"}
    return {
        "headline": _HEADLINES[condition.state],
        "words": _sentence(condition.words),
        "since": condition.since,
        **_devices(database),
        "latest": last[0] if last else None,
        "completed": int(ended.get("completed", 0)),
        "rounds": [_line(one) for one in last[:_TABLE]],
        "charts": _charts(last),
        "stages": _stages(last),
        "lost": _lost(last),
        "models": models,
        "accuracy": any(one.hit_rate for one in models),
        "promoted": None if promoted is None else promoted.number,
        "budget": _budget(config, database),
    }


def _budget(config: ServerConfig, database: Database) -> dict[str, float] | None:
    """Return what is spent of the privacy budget; None where there is none, or it cannot be read: health says so."""
    try:
        balance = None if config.privacy is None else seen_balance(config, database)
    except FedpersonaError:
        return None
    return None if balance is None else {"spent": rounded_up(balance.epsilon), "limit": balance.limit}


def _devices(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        known, revoked = connection.execute(
            select(func.count(tables.devices.c.number), func.count(tables.devices.c.revoked_at))
        ).one()
    return {"enrolled": known - revoked, "revoked": revoked}


def _name(one: RoundRecord) -> str:
    again = f", try {one.attempt}" if one.attempt > 1 else ""
    return f"{one.training}.{one.round_number}{again}"


def _line(one: RoundRecord) -> _Line:
    running = one.ended_at is None
    return _Line(
        name=_name(one),
        began=moment(one.began_at),
        outcome=f"now: {one.phase}" if running else str(one.outcome),
        invited=one.invited,
        answered="" if running else f"{one.answered:,}",
        lost="" if running else f"{one.dropped + sum(one.refused.values()):,}",
        up="" if running else _bytes(one.bytes_up),
        took="" if one.ended_at is None else _length(sum(one.seconds.values()) or one.ended_at - one.began_at),
    )


def _charts(last: Sequence[RoundRecord]) -> tuple[tuple[Columns, str], ...]:
    told = [
        (
            f"{one.training}.{one.round_number}",
            one.invited,
            one.answered,
            f"Round {_name(one)}: {one.answered:,} of {one.invited:,} answered",
        )
        for one in reversed(last)
    ]
    wide = columns(told, width=830, height=190)
    return (wide, "wide"), (columns(told, width=330, height=170, most=14, labels=5), "narrow")


def _stages(last: Sequence[RoundRecord]) -> tuple[Share, ...]:
    """Return the mean of each stage over the rounds that had it, in the order of the latest."""
    total: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for one in last:
        for stage, seconds in one.seconds.items():
            total[stage] += seconds  # type: ignore[assignment]  # a Counter sums what it is given
            times[stage] += 1
    return shares({stage: total[stage] / times[stage] for stage in total}, " s", 2)


def _lost(last: Sequence[RoundRecord]) -> tuple[Share, ...]:
    """Return how many answers did not count, by why, the most frequent first.

    One that came after its round is also among the silent of that round.
    """
    found: Counter[str] = Counter()
    for one in last:
        found.update({"silent": one.dropped, "after its round": one.late})
        found.update(one.refused)
    return shares({reason: number for reason, number in found.most_common() if number})


def _model(one: Version, promoted: Version | None) -> _Model:
    rate = one.metrics.get("hit_rate")
    return _Model(
        version=one.number,
        model=one.model,
        made=moment(one.registered_at),
        hit_rate=f"{rate:.3f}" if isinstance(rate, float) else "",
        promoted=promoted is not None and promoted.number == one.number,
    )


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("." if words and words[-1] not in ".!?" else "")


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} B"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:,.0f} min"
