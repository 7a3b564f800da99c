"""Enrolment: a device brings a token and its two public keys, and is a device of the federation from then on."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from starlette.responses import JSONResponse, Response

from fedpersona.aggregation.front.limits import Attempts, refusal
from fedpersona.errors import DiskFull, EnrolmentRefused, ServerError
from fedpersona.wire.enrolment import enrolment_words

if TYPE_CHECKING:
    from starlette.requests import Request

    from fedpersona.aggregation.front.state import Server

__all__ = ["LARGEST_REQUEST", "Control", "Enrolment"]

LARGEST_REQUEST = 8192
"""Bytes of a request to enrol; one has some 600."""

_FIELDS = {"token", "flower_key", "signing_key", "proof"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,64}")
_LONGEST_KEY = 1024  # characters of PEM; P-384 has 215
_EACH_A_MINUTE = 10  # refused enrolments of one address
_PAUSE = 0.3  # seconds before a no: whoever guesses waits


class Control(Protocol):
    """What enrolment needs of Flower."""

    def register_node(self, public_key: bytes) -> int:
        """Let the device with this key (PEM) take part; return its node id, the same for the same key."""
        ...

    def unregister_node(self, node_id: int) -> None:
        """Take a node off the list."""
        ...


@dataclass(frozen=True)
class _Asked:
    """A request to enrol whose form is right and whose proof holds."""

    token: str = field(repr=False)
    flower_key: bytes = field(repr=False)
    """PEM, exactly as Flower writes it."""
    signing_key: bytes = field(repr=False)


class Enrolment:
    """The endpoint ``POST /v1/enrol``.

    Args:
        server: the state.
        control: opens Flower's Control API; it is opened for each enrolment, since the SuperLink may restart.
    """

    def __init__(self, server: Server, control: Callable[[], AbstractContextManager[Control]]) -> None:
        self._server = server
        self._control = control
        self._attempts = Attempts(server.config.limits.enrolments_a_minute, _EACH_A_MINUTE)
        self._one = asyncio.Lock()  # a request that is repeated while the first is still being answered waits

    async def answer(self, request: Request) -> Response:
        """Enrol a device."""
        address = request.client.host if request.client else ""
        body = await request.body()  # what never arrives whole counts against nobody
        if not (await asyncio.to_thread(self._invited, body) or self._attempts.allowed(address)):
            words = "too many enrolments were tried in this minute: come again"
            return refusal(429, words, "too many enrolments", {"retry-after": "60"})
        try:
            answer = await self._enrolled(body)
        except EnrolmentRefused as error:
            self._attempts.failed(address)
            await asyncio.sleep(_PAUSE)
            return refusal(403, str(error), "enrolment refused")
        except (ServerError, DiskFull) as error:
            # The token is used, but the same token with the same keys is answered again.
            self._server.log.error("enrolment.failed", problem=str(error))
            return refusal(503, "the server cannot enrol a device now: come again", "enrolment failed")
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    def _invited(self, body: bytes) -> bool:
        """Tell whether a request names a token that was issued: whoever has one is shut out by nobody's guessing."""
        try:
            token = json.loads(body)["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return isinstance(token, str) and bool(_TOKEN.fullmatch(token)) and self._server.roster.issued(token)

    async def _enrolled(self, body: bytes) -> dict[str, Any]:
        federation = self._server.config.federation.name
        asked = _asked(body, federation)
        async with self._one:
            number, node_id = await asyncio.to_thread(self._enrol, asked)
            await self._server.watch.look()
        return {"federation": federation, "device": number, "node_id": node_id}

    def _enrol(self, asked: _Asked) -> tuple[int, int]:
        roster = self._server.roster
        number = roster.enrol(asked.token, asked.flower_key, asked.signing_key).number
        with self._control() as control:  # Flower may have lost a node that we know, as after a restore: ask it again
            node_id = control.register_node(asked.flower_key)
        roster.attach(number, node_id)
        self._server.log.info("device.enrolled", device=number)
        return number, node_id


def _asked(body: bytes, federation: str) -> _Asked:
    """Read and check a request.

    Raises:
        EnrolmentRefused: it is not what it should be.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not (isinstance(found, dict) and set(found) == _FIELDS and all(isinstance(v, str) for v in found.values())):
        raise EnrolmentRefused(f"a request to enrol is a JSON object of the texts {', '.join(sorted(_FIELDS))}")
    if not _TOKEN.fullmatch(found["token"]):
        raise EnrolmentRefused("the token is not whole: copy the whole invitation")
    flower_key = _flower_key(found["flower_key"])
    signing_key = _hexadecimal(found["signing_key"], 32)
    proof = _hexadecimal(found["proof"], 64)
    try:
        words = enrolment_words(federation, found["token"], flower_key)
        Ed25519PublicKey.from_public_bytes(signing_key).verify(proof, words)
    except (InvalidSignature, ValueError):
        raise EnrolmentRefused(
            f"the proof does not fit the keys, the token and the federation '{federation}': enrol again"
        ) from None
    return _Asked(found["token"], flower_key, signing_key)


def _flower_key(text: str) -> bytes:
    """Return the PEM of a key on P-256 or P-384, which must be written exactly as Flower writes and compares it."""
    try:
        if len(text) > _LONGEST_KEY:
            raise ValueError
        pem = text.encode("ascii")
        key = load_pem_public_key(pem)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise ValueError
        if key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) != pem:
            raise ValueError
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise EnrolmentRefused("flower_key is no PEM public key on P-256 or P-384") from None
    return pem


def _hexadecimal(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not re.fullmatch("[0-9a-f]+", text):
        raise EnrolmentRefused(
            f"signing_key and proof are 32 and 64 bytes in lower-case hexadecimal, not {len(text)} characters"
        )
    return bytes.fromhex(text)
