"""A plan under the operator's signature: what travels, and what a device checks before it looks at anything else."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpersona.errors import PlanForged
from fedpersona.wire.plan import Plan

__all__ = ["seal_plan", "unseal_plan"]

_DOMAIN = b"fedpersona signed plan 1\n"
_SIGNATURE = 64  # bytes


def seal_plan(plan: Plan, key: Ed25519PrivateKey) -> bytes:
    """Return the signature (Ed25519, 64 bytes) and the encoded plan, one after the other."""
    body = plan.encode()
    return key.sign(_DOMAIN + body) + body


def unseal_plan(data: bytes, key: bytes) -> Plan:
    """Check a signed plan and read it.

    Args:
        data: what came over the wire.
        key: the operator's Ed25519 public key, 32 bytes.

    Raises:
        PlanForged: another key signed it, or it was changed since.
        PlanRefused: the operator signed something that is no plan.
    """
    signature, body = data[:_SIGNATURE], data[_SIGNATURE:]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _DOMAIN + body)
    except (InvalidSignature, ValueError):
        raise PlanForged("the server's plan is not signed by the operator's key: nothing of it is believed") from None
    return Plan.decode(body)
