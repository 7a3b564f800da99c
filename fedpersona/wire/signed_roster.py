"""The closed roster of a round under the operator's signature: a server that shows two of them leaves proof of it."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.errors import PlanForged

__all__ = ["check_roster", "sign_roster"]


def sign_roster(head: bytes, plan_hash: str, key: Ed25519PrivateKey) -> bytes:
    """Sign the head of a roster for one plan (Ed25519, 64 bytes)."""
    return key.sign(_signed(head, plan_hash))


def check_roster(head: bytes, plan_hash: str, signature: bytes, key: bytes) -> None:
    """Check that the operator with this Ed25519 public key closed this roster for this plan.

    Raises:
        PlanForged: it did not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _signed(head, plan_hash))
    except (InvalidSignature, ValueError):
        raise PlanForged("the roster is not signed by the operator's key: this device does not mask with it") from None


def _signed(head: bytes, plan_hash: str) -> bytes:
    return b"fedpersona signed roster 1\n" + plan_hash.encode("ascii") + b"\n" + head
