"""Whether the server can do its work now: the state it keeps, the SuperLink, room on the disk."""

from __future__ import annotations

import http.client
import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from fedpersona.aggregation.budget_words import rounded_up, seen_balance
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.errors import FedpersonaError

__all__ = ["LEAST_ROOM", "Finding", "look", "ready"]

LEAST_ROOM = 256 * 2**20
"""Bytes that must be free in the state folder: a few checkpoints of a large model and the SuperLink's messages."""

_PATIENCE = 1.0  # seconds that the SuperLink has for each step of an answer, on loopback


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What it is: ``state``, ``superlink``, ``disk`` or ``budget``."""
    well: bool
    words: str
    """What was found and, where it is not well, what to do; one sentence."""


def look(config: ServerConfig, database: Database) -> tuple[Finding, ...]:
    """Look at everything that a round needs; this takes a few seconds at most."""
    budget = () if config.privacy is None else (_budget(config, database),)
    return (_state(database), _superlink(config), _disk(config), *budget)


def ready(findings: Sequence[Finding]) -> bool:
    """Tell whether all is well."""
    return all(found.well for found in findings)


def _state(database: Database) -> Finding:
    try:
        with database.reading() as connection:
            connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
    except FedpersonaError as error:
        return Finding("state", False, str(error))
    return Finding("state", True, "The state can be read.")


def _budget(config: ServerConfig, database: Database) -> Finding:
    try:
        balance = seen_balance(config, database)
    except FedpersonaError as error:
        return Finding("budget", False, str(error))
    if balance is None:
        return Finding("budget", True, "The account is opened when the server first starts.")
    spent = rounded_up(balance.epsilon)
    return Finding("budget", True, f"Epsilon {spent:g} of {balance.limit:g} is spent, at a delta of {balance.delta:g}.")


def _superlink(config: ServerConfig) -> Finding:
    port = config.server.superlink_port
    try:
        trust = ssl.create_default_context(cafile=config.server.superlink_authority)
        link = http.client.HTTPSConnection("127.0.0.1", port, timeout=_PATIENCE, context=trust)
        try:
            link.request("GET", "/health")
            status = link.getresponse().status
        finally:
            link.close()
    except (OSError, http.client.HTTPException):  # a stopped process still takes connections: it has to answer
        words = f"The SuperLink does not answer on 127.0.0.1:{port}: see its log in the folder 'logs' of the state."
        return Finding("superlink", False, words)
    if status != 200:
        return Finding("superlink", False, f"Another program than the SuperLink answers on 127.0.0.1:{port}: stop it.")
    return Finding("superlink", True, f"The SuperLink answers on port {port}.")


def _disk(config: ServerConfig) -> Finding:
    try:
        free = shutil.disk_usage(config.server.state).free
    except OSError:
        return Finding("disk", False, "The state folder cannot be looked at: see that it exists and can be read.")
    room = f"{free / 1e9:,.1f} GB"
    if free < LEAST_ROOM:
        words = f"The disk of the state folder has {room} left, less than {LEAST_ROOM / 1e9:.1f} GB: make room."
        return Finding("disk", False, words)
    return Finding("disk", True, f"{room} are free for the state.")
