"""What a device is to one server, and what the server is to it: who runs it, and the keys made for it alone."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fedpersona.errors import VaultDamaged

__all__ = ["Identity"]

_BYTES = ("operator", "authority", "flower_key", "signing_key")


@dataclass(frozen=True)
class Identity:
    """One server as an invitation described it, and this device's place there, where it has one.

    The two private keys are made on this device, for this server alone, and leave it never: other servers cannot tell
    that it is the same device.
    """

    server: str
    """The normalised address."""
    federation: str
    operator: bytes = field(repr=False)
    """The operator's Ed25519 public key, 32 bytes: signs catalogues, plans and models."""
    authority: bytes | None = field(default=None, repr=False)
    """Certificate (DER) of the only authority that is trusted; None for those of the system."""
    device: int | None = None
    """This device's number there; None where it is not enrolled."""
    node_id: int | None = None
    """Its number in Flower; None where it is not enrolled."""
    flower_key: bytes | None = field(default=None, repr=False)
    """Private EC key on P-384 that Flower knows it by: PEM, PKCS #8, unencrypted, as Flower reads it."""
    signing_key: bytes | None = field(default=None, repr=False)
    """Private Ed25519 key, 32 bytes, that its answers are signed with."""

    @property
    def enrolled(self) -> bool:
        """Whether this device has a place there; without one it fetches what is public."""
        return self.node_id is not None

    @property
    def flower_public_key(self) -> bytes:
        """The public half of :attr:`flower_key`, PEM.

        Raises:
            VaultDamaged: there is none, or it cannot be read.
        """
        try:
            key = load_pem_private_key(self.flower_key or b"", password=None)
        except (ValueError, TypeError):
            raise _damaged(self.server) from None
        return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def signer(self) -> Ed25519PrivateKey:
        """:attr:`signing_key`, ready to sign.

        Raises:
            VaultDamaged: there is none, or it cannot be read.
        """
        try:
            return Ed25519PrivateKey.from_private_bytes(self.signing_key or b"")
        except ValueError:
            raise _damaged(self.server) from None

    def with_keys(self) -> Identity:
        """Return this one with two new private keys."""
        flower = ec.generate_private_key(ec.SECP384R1())  # as Flower 1.42 makes them
        return replace(
            self,
            flower_key=flower.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            signing_key=Ed25519PrivateKey.generate().private_bytes_raw(),
        )

    def public(self) -> dict[str, Any]:
        """Return what the owner may read and keep of it, JSON-native: no private key."""
        facts: dict[str, Any] = {
            "server": self.server,
            "federation": self.federation,
            "operator_key": self.operator.hex(),
            "authority_sha256": None if self.authority is None else hashlib.sha256(self.authority).hexdigest(),
            "enrolled": self.enrolled,
        }
        if self.enrolled:
            facts |= {
                "device": self.device,
                "node_id": self.node_id,
                "flower_public_key": self.flower_public_key.decode("ascii"),
                "signing_public_key": self.signer.public_key().public_bytes_raw().hex(),
            }
        return facts

    def packed(self) -> bytes:
        """Return all of it for the encrypted store, private keys included."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in _BYTES:
            fields[name] = None if fields[name] is None else base64.b64encode(fields[name]).decode("ascii")
        return json.dumps(fields).encode()

    @classmethod
    def unpacked(cls, data: bytes, server: str) -> Identity:
        """Read what :meth:`packed` returned.

        Raises:
            VaultDamaged: it is something else.
        """
        try:
            fields = json.loads(data)
            for name in _BYTES:
                fields[name] = None if fields[name] is None else base64.b64decode(fields[name], validate=True)
            found = cls(**fields)
        except (ValueError, TypeError, KeyError):
            raise _damaged(server) from None
        if found.server != server or len(found.operator) != 32:
            raise _damaged(server)
        return found


def _damaged(server: str) -> VaultDamaged:
    return VaultDamaged(f"what is kept of {server} cannot be read: ask its operator for an invitation and enrol again")
