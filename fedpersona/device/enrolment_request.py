"""What a device asks of a server to be enrolled, and how it reads the answer."""

from __future__ import annotations

import json
from dataclasses import replace

from fedpersona.device.https import Answer
from fedpersona.device.identity import Identity
from fedpersona.device.ledger_entry import plain
from fedpersona.errors import EnrolmentRefused, ServerUnreachable, ServerUntrusted
from fedpersona.wire.enrolment import enrolment_words

__all__ = ["placed", "request"]

_LARGEST_NUMBER = 2**63 - 1
_LARGEST_NODE_ID = 2**64 - 1  # Flower's are unsigned, 64 bits


def request(pending: Identity, token: str) -> bytes:
    """Return the body of the request, JSON.

    Args:
        pending: with the keys that are to be enrolled.
        token: the invitation's.
    """
    public = pending.flower_public_key
    signer = pending.signer
    fields = {
        "token": token,
        "flower_key": public.decode("ascii"),
        "signing_key": signer.public_key().public_bytes_raw().hex(),
        "proof": signer.sign(enrolment_words(pending.federation, token, public)).hex(),
    }
    return json.dumps(fields).encode()


def placed(pending: Identity, answer: Answer) -> Identity:
    """Return the place that a server's answer gives.

    Raises:
        EnrolmentRefused: the server says no.
        ServerUntrusted: it is of another federation, or answers what no server of ours answers.
        ServerUnreachable: it cannot enrol now.
    """
    found = _json(answer.body)
    if answer.status == 403:
        words = found.get("error") if isinstance(found, dict) else None
        reason = f": {plain(words)}" if isinstance(words, str) and words else "; ask its operator for another"
        raise EnrolmentRefused(f"{pending.server} does not take this invitation{reason}")
    if answer.status != 200:
        raise ServerUnreachable(
            f"{pending.server}: does not enrol now (status {answer.status}): take the invitation up again later"
        )
    if not (
        isinstance(found, dict)
        and set(found) == {"federation", "device", "node_id"}
        and isinstance(found["federation"], str)
        and _number(found["device"], _LARGEST_NUMBER)
        and _number(found["node_id"], _LARGEST_NODE_ID)
    ):
        raise ServerUntrusted(f"{pending.server}: answers an enrolment with something else than a place: not taken")
    if found["federation"] != pending.federation:
        raise ServerUntrusted(
            f"{pending.server}: is a server of '{plain(found['federation'])[:80]}', "
            f"not of '{pending.federation}', which the invitation is for: ask its operator for another"
        )
    return replace(pending, device=found["device"], node_id=found["node_id"])


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _number(value: object, largest: int) -> bool:
    return type(value) is int and 0 < value <= largest
