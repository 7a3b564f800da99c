"""An invitation: all that a device needs to enrol with a server and to know it again, as one line of text."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import asdict, dataclass

from fedpersona.errors import EnrolmentRefused

__all__ = ["Invitation"]

_PREFIX = "fedpersona1."
_LONGEST = 8192
_FEDERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")
_KEY = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,64}")


@dataclass(frozen=True)
class Invitation:
    """What an operator gives to one device."""

    address: str
    """Where the server is, ``https://…``."""
    federation: str
    """The federation's name."""
    operator: bytes
    """The operator's Ed25519 public key, 32 bytes: signs catalogues, plans and models."""
    token: str = ""
    """Lets one device enrol once."""
    authority: bytes | None = None
    """Certificate (DER) of the authority that the server's certificate must come from; None: those of the system."""

    def __str__(self) -> str:
        fields = asdict(self) | {
            "operator": self.operator.hex(),
            "authority": "" if self.authority is None else base64.b64encode(self.authority).decode(),
        }
        packed = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        return _PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    def __repr__(self) -> str:
        return f"Invitation({self.address})"

    @classmethod
    def parse(cls, text: str) -> Invitation:
        """Read an invitation.

        Raises:
            EnrolmentRefused: it is none, or was cut off.
        """
        word = "".join(text.split())
        try:
            if not word.startswith(_PREFIX) or len(word) > _LONGEST:
                raise ValueError
            body = word.removeprefix(_PREFIX)
            found = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
            if set(found) != {"address", "federation", "operator", "token", "authority"}:
                raise ValueError
            if not all(isinstance(value, str) for value in found.values()) or not _KEY.fullmatch(found["operator"]):
                raise ValueError
            authority = base64.b64decode(found["authority"], validate=True) or None
            return cls._checked(
                found["address"], found["federation"], bytes.fromhex(found["operator"]), found["token"], authority
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
            raise EnrolmentRefused(f"this is no whole invitation: copy all of it, it begins with '{_PREFIX}'") from None

    @classmethod
    def _checked(
        cls, address: str, federation: str, operator: bytes, token: str, authority: bytes | None
    ) -> Invitation:
        well = address.startswith("https://") and _FEDERATION.fullmatch(federation) and len(operator) == 32
        if not well or (token and not _TOKEN.fullmatch(token)):
            raise ValueError
        return cls(address, federation, operator, token, authority)
