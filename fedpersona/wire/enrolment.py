"""What a device signs to enrol: that its keys and its token belong together."""

from __future__ import annotations

import hashlib

__all__ = ["enrolment_words"]

_FORMAT = b"fedpersona enrol 1"


def enrolment_words(federation: str, token: str, flower_key: bytes) -> bytes:
    """Return the bytes that the device's Ed25519 key signs.

    Args:
        federation: the federation's name, of one line.
        token: of the invitation; its SHA-256 (32 bytes) stands here.
        flower_key: the PEM of the device's public key for Flower, as it is sent.
    """
    return b"\n".join((_FORMAT, federation.encode(), hashlib.sha256(token.encode()).digest() + flower_key))
