"""Addresses of servers in one spelling, so that a consent for one is a consent for that one."""

from __future__ import annotations

from urllib.parse import urlsplit

from fedpersona.errors import ConfigError

__all__ = ["normalised"]

_PORTS = {"https": 443, "http": 80}


def normalised(address: str) -> str:
    """Return an address as scheme, host and path, in lower case where case means nothing.

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
    named = f"[{host}]" if ":" in host else host
    place = named if port in (None, _PORTS[parts.scheme]) else f"{named}:{port}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"
