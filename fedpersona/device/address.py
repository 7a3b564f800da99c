"""Addresses of servers in one spelling, so that a consent for one is a consent for that one."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import urlsplit

from fedpersona.errors import ConfigError

__all__ = ["is_nowhere", "normalised"]

_PORTS = {"https": 443, "http": 80}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)*/?")


def normalised(address: str) -> str:
    """Return an address as scheme, host and path, in lower case where case means nothing.

    What means the same server comes out the same: a host in IDNA's letters (RFC 3490), without the root's dot, an IP
    address in its shortest form, no port that goes without saying. What could be read in two ways is refused.

    Raises:
        ConfigError: it is no address of a server.
    """
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except (ValueError, AttributeError):
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in _PORTS or not host or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"'{address}' is no server's address: give one such as https://taste.example")
    if any(letter.isspace() or not letter.isprintable() for letter in address.strip()):
        raise ConfigError("a server's address has no spaces: give one such as https://taste.example")
    if not _PATH.fullmatch(parts.path):
        raise ConfigError(
            f"the path of '{address}' could be spelt in several ways: use letters, digits and '-._~' between single '/'"
        )
    named = _host(host, address)
    place = named if port in (None, _PORTS[parts.scheme]) else f"{named}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def is_nowhere(server: str) -> bool:
    """Tell whether a normalised address is one that no network ever has (RFC 2606): a server inside this process."""
    return (urlsplit(server).hostname or "").endswith(".invalid")


def _host(host: str, address: str) -> str:
    """Return a host in its one spelling."""
    try:
        if ":" in host and "%" not in host:  # a zone means something on one machine only
            return f"[{ipaddress.IPv6Address(host).compressed}]"
        name = unicodedata.normalize("NFC", host).encode("idna").decode("ascii").lower().removesuffix(".")
        if _NUMBER.fullmatch(name):  # such a name is an IPv4 address or nothing (WHATWG URL, section 3.5)
            return str(ipaddress.IPv4Address(name))
    except ValueError:  # UnicodeError is one
        name = ""
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ConfigError(f"'{address}' names no host: give an address such as https://taste.example")
    return name
