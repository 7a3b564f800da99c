"""What can be reached from an object: nothing that a device forgot may be among it."""

from __future__ import annotations

import gc
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedpersona.privacy.secagg import DeviceRound

_OUTSIDE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def reached_from(*roots: object) -> list[object]:
    """Return every object that is referred to, however far away; not code, nor what all code has in common."""
    seen: dict[int, object] = {}
    left = list(roots)
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, _OUTSIDE):
            seen[id(one)] = one
            left += gc.get_referents(one)
    return list(seen.values())


def secrets_of(machine: DeviceRound) -> set[bytes | int]:
    """Return all secrets that a device has right now, in every form that it has them."""
    found: set[bytes | int] = set()
    for one in reached_from(machine._secrets):
        if isinstance(one, bytes) and len(one) >= 16:
            found |= {one, one[:32], one[32:]}
        elif isinstance(one, int) and one > 2**100:
            found |= {one, one.to_bytes(32, "little")}
    public = {key.public for key in (machine._secrets.c, machine._secrets.s) if key is not None}
    return found - public - {b""}


def left_in(machine: DeviceRound, secrets: set[bytes | int]) -> set[bytes | int]:
    """Return which of some secrets a device still has; a private key counts, whatever it is."""
    found: set[bytes | int] = set()
    for one in reached_from(machine):
        if isinstance(one, X25519PrivateKey):
            found.add(one.private_bytes_raw())
        elif isinstance(one, int) and not isinstance(one, bool) and one in secrets:
            found.add(one)
        elif isinstance(one, bytes | bytearray):
            found |= {secret for secret in secrets if isinstance(secret, bytes) and secret in one}
    return found
