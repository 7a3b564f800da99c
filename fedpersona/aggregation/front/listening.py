"""Where a server listens, and what it proves itself with there."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path

from fedpersona.aggregation.config import Endpoint
from fedpersona.errors import ConfigError, DataNotFound, PortTaken, ServerError

__all__ = ["BACKLOG", "listening", "tls"]

BACKLOG = 1024
"""Connections that wait to be taken."""


def tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return what a server speaks TLS 1.2 or newer with, HTTP/1.1 inside.

    Raises:
        DataNotFound: a file is missing.
        ServerError: they do not fit together, or are no certificate and key.
    """
    if certificate is None or key is None:
        raise ServerError("[server] has no certificate and key: make them with 'fedpersona serve init'")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except FileNotFoundError:
        raise DataNotFound("the certificate or its key is not there: see [server]", path=certificate) from None
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise ServerError(f"{certificate}: certificate and key cannot be used ({reason}): see [server]") from None
    return context


def listening(endpoint: Endpoint) -> socket.socket:
    """Return a socket that is bound there, the first that the host's name stands for.

    Raises:
        PortTaken: another program listens there.
        ConfigError: it is no address of this machine.
    """
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"{endpoint}: this host is unknown: name one of this machine") from None
    # asyncio sends small answers at once only where the protocol is named: without it each waits 40 ms.
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"{endpoint}: another program listens there: end it, or choose another port in server.toml"
            ) from None
        raise ConfigError(f"{endpoint}: cannot be listened on ({error.strerror}): choose another") from None
    bound.setblocking(False)
    return bound
