"""Consent records: the fields of ISO/IEC TS 27560:2023, as JSON.

The names of sections and fields follow clause 6.3 of the specification (header, PII processing, party identification,
event). What this device cannot know of a server, such as its jurisdiction, says so instead of being left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from fedpersona.device.chain import Entry
from fedpersona.device.notice import Notice

__all__ = [
    "SCHEMA",
    "Answer",
    "answer_of",
    "consent_record",
    "gpc_on",
    "is_about",
    "last_gpc",
    "notice_hash",
    "says_no",
    "subject",
]

SCHEMA = "ISO/IEC TS 27560:2023, fedpersona 1"

Answer: TypeAlias = Literal["given", "refused", "withdrawn"]

_UNKNOWN = "not known to this device"


def consent_record(
    answer: Answer, *, notice: Notice, server: str, record_id: str, principal: str, at: int, days: int | None
) -> Mapping[str, Any]:
    """Return the record of one answer, JSON-native.

    Args:
        answer: what the owner said.
        notice: what they read before.
        server: the normalised address.
        record_id: the same from a yes to its withdrawal.
        principal: this device's random name for its owner; it is never sent.
        at: Unix seconds.
        days: how long a yes holds; None for a no, which holds until another answer.
    """
    return {
        "schema_version": SCHEMA,
        "record_id": record_id,
        "pii_principal_id": principal,
        "pii_processing": {
            "privacy_notice": {"id": notice.purpose, "version": notice.version, "sha256": notice.sha256},
            "language": "en",
            "purposes": [_purpose(notice, server)],
        },
        "party_identification": [
            {
                "party_id": server,
                "party_url": server,
                "party_name": _UNKNOWN,
                "party_address": _UNKNOWN,
                "party_contact": server,
                "party_role": "PII controller",
                "party_type": "operator of a federation",
            }
        ],
        "event": [
            {
                "event_time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "validity_duration": "until another answer" if days is None else f"P{days}D",
                "entity_id": principal,
                "event_type": "explicit consent",
                "event_state": f"consent {answer}",
            }
        ],
    }


def _purpose(notice: Notice, server: str) -> Mapping[str, Any]:
    return {
        "purpose": notice.purpose,
        "purpose_description": notice.summary,
        "lawful_basis": "consent",
        "pii_information": [
            {"pii_type": "numbers computed from the listening history", "pii_optional": True},
        ],
        "pii_controllers": [server],
        "collection_method": "computed on the owner's own device",
        "processing_method": "added up over many devices",
        "storage_locations": [_UNKNOWN],
        "retention_period": _UNKNOWN,
        "jurisdiction": _UNKNOWN,
        "recipient_third_parties": [],
        "withdrawal_method": "in the app, or 'fedpersona device consent withdraw'; at once",
    }


def last_gpc(entries: tuple[Entry, ...]) -> Entry | None:
    """Return the last change of Global Privacy Control, None where there was none."""
    return next((entry for entry in reversed(entries) if "global_privacy_control" in entry.body), None)


def gpc_on(entry: Entry) -> bool:
    """Tell whether a change of Global Privacy Control turned it on."""
    return entry.body["global_privacy_control"] is True


def subject(entry: Entry) -> tuple[str, str] | None:
    """Return purpose and server of a consent record, None for an entry that is none."""
    if "pii_processing" not in entry.body:
        return None
    purpose: Mapping[str, Any] = entry.body["pii_processing"]["purposes"][0]
    return str(purpose["purpose"]), str(purpose["pii_controllers"][0])


def is_about(entry: Entry, purpose: str, server: str) -> bool:
    """Tell whether an entry is an answer for this purpose and server."""
    return subject(entry) == (purpose, server)


def answer_of(entry: Entry) -> str:
    """Return what the owner said."""
    return str(entry.body["event"][0]["event_state"]).removeprefix("consent ")


def says_no(entry: Entry, purpose: str, server: str) -> bool:
    """Tell whether an entry ends a yes for this purpose and server."""
    if "global_privacy_control" in entry.body:
        return gpc_on(entry)
    return is_about(entry, purpose, server) and answer_of(entry) != "given"


def notice_hash(entry: Entry) -> str:
    """Return the hash of the notice that was read before."""
    return str(entry.body["pii_processing"]["privacy_notice"]["sha256"])
