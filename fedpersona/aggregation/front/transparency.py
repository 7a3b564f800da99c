"""The transparency page: what this federation asks for and why, its rules, its model, its rounds; and its limits.

Everything on it is read from the configuration and the database when it is asked for. It tells of sums and days only:
no device, no number of one, no time finer than a day, and no count of a round that released nothing. What the
releases may cost a person, and have, is told from the signed account of the privacy budget.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fedpersona.aggregation.budget_words import public_facts
from fedpersona.aggregation.config import FederationConfig, ServerConfig
from fedpersona.aggregation.database import Database, releases, versions
from fedpersona.aggregation.front import plain_words
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.pages import HEADERS, Pages, day
from fedpersona.aggregation.trainings import Training, Trainings

__all__ = ["transparency_facts", "transparency_json", "transparency_page"]

_PAGES = Pages(Path(__file__).parent / "templates")
_CACHE = "public, max-age=60"
_ROUNDS = 12  # told, newest first
_MAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_WEB = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?(/[^\s\"'<>]*)?")


def transparency_page(request: Request) -> Response:
    """Answer with the page."""
    config, database = _of(request)
    facts = transparency_facts(config, database)
    return _PAGES.draw("transparency.html", cache=_CACHE, contact_link=_link(config.federation.contact), **facts)


def transparency_json(request: Request) -> Response:
    """Answer with the same as JSON."""
    facts = transparency_facts(*_of(request))
    return JSONResponse(facts, headers={**HEADERS, "Cache-Control": _CACHE})


def _of(request: Request) -> tuple[ServerConfig, Database]:
    server = request.app.state.server
    return server.config, server.database


def transparency_facts(config: ServerConfig, database: Database) -> dict[str, Any]:
    """Return all that the page tells, under names that stay.

    Raises:
        StateDamaged: the database cannot be read.
    """
    contact = config.federation.contact
    return {
        "format": "fedpersona transparency 1",
        "federation": _federation(config.federation, config.server.address),
        "data": {
            "sent": plain_words.asked(config.rounds, config.privacy),
            "kept_on_device": plain_words.never_leaves(),
        },
        "rules": _rules(config, public_facts(config, database), Trainings(database, config.models).current()),
        "model": _model(database),
        "rounds": _rounds(database),
        "taking_part": plain_words.taking_part(contact),
        "leaving": plain_words.leaving(contact),
        "could_learn": plain_words.could_learn(config.rounds, config.privacy),
    }


def _federation(federation: FederationConfig, address: str) -> dict[str, str]:
    return {**federation.model_dump(include={"name", "operator", "purpose", "contact"}), "address": address}


def _rules(config: ServerConfig, budget: dict[str, Any] | None, training: Training | None) -> dict[str, Any]:
    rounds, schedule = config.rounds, config.schedule
    return {
        "least_devices": rounds.min_count,
        "most_devices": rounds.cohort,
        "longest_update": rounds.clip if budget is None else budget.get("clip"),
        "masked": rounds.masked,
        "neighbours": rounds.neighbours if rounds.masked else None,
        "threshold": rounds.threshold if rounds.masked else None,
        "masks_in_words": plain_words.masked_or_not(rounds),
        "differential_privacy": budget,
        "attempts": rounds.attempts,
        "model": config.model.name,
        "settings": _settings(config, training),
        "learns": plain_words.learns(config.model.name),
        "schedule": schedule.kind,
        "every_days": schedule.every_days if schedule.kind == "standing" else None,
        "new_devices": schedule.new_devices if schedule.kind == "standing" else None,
        "how_often": plain_words.how_often(schedule),
    }


def _settings(config: ServerConfig, training: Training | None) -> dict[str, Any]:
    """Return the model's settings; under a budget those of the training, which has its noise, while one is open."""
    if config.privacy is None:
        return config.model.create().model_dump(mode="json")
    if training is not None and training.model == config.model.name:
        return dict(training.settings)
    return {**config.model.create().model_dump(mode="json"), "noise": None}


def _model(database: Database) -> dict[str, Any] | None:
    """Return what is known of the promoted model; None where there is none."""
    chosen = select(versions, releases.c.issued).join(releases, releases.c.version == versions.c.number)
    with database.reading() as connection:
        row = connection.execute(chosen.order_by(releases.c.id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return {
        "version": row.number,
        "name": row.model,
        "since": _date(row.issued),
        "since_in_words": day(row.issued),
        "devices": row.devices,
        "rounds": row.round_number,
        "catalogue": row.catalogue,
        "hash": row.hash,
    }


def _rounds(database: Database) -> list[dict[str, Any]]:
    """Return the last rounds, newest first. How many answered is told where their sum was released, nowhere else."""
    return [
        {
            "training": one.training,
            "round": one.round_number,
            "day": _date(one.ended_at or one.began_at),
            "day_in_words": day(one.ended_at or one.began_at),
            "outcome": one.outcome,
            "devices": one.answered if one.outcome == "completed" else None,
            "in_words": plain_words.round_in_words(one),
        }
        for one in Journal(database).rounds(_ROUNDS)
    ]


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _link(contact: str) -> str | None:
    """Return where a contact leads: a mail address or an https address, nothing else."""
    if _MAIL.fullmatch(contact):
        return f"mailto:{contact}"
    return contact if _WEB.fullmatch(contact) else None
