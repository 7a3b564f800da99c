"""Whether an address is free to listen on, or answers already."""

from __future__ import annotations

import errno
import socket
import time

from fedpersona.aggregation.config import Endpoint
from fedpersona.errors import PortTaken, ServerError

__all__ = ["answers", "check_free"]

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on by all is reached by loopback


def answers(endpoint: Endpoint) -> bool:
    """Tell whether something takes connections there."""
    host = _EVERYWHERE.get(endpoint.host, endpoint.host)
    try:
        with socket.create_connection((host, endpoint.port), timeout=1.0):
            return True
    except OSError:
        return False


def check_free(endpoint: Endpoint, patience: float = 5.0) -> None:
    """Check that this process may listen there; a server that just ended is given time to let go of it.

    Args:
        endpoint: where.
        patience: seconds, at most.

    Raises:
        PortTaken: another program listens there.
        ServerError: it is no address of this machine, or the port needs a right that we have not.
    """
    until = time.monotonic() + patience
    while (problem := _problem(endpoint)) is not None:
        if problem.errno != errno.EADDRINUSE:
            raise ServerError(f"{endpoint}: cannot listen there ({problem.strerror or problem}): choose another")
        if time.monotonic() >= until:
            raise PortTaken(f"{endpoint}: another program listens there: end it, or choose another port in server.toml")
        time.sleep(0.1)


def _problem(endpoint: Endpoint) -> OSError | None:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not hold a port
        try:
            tried.bind((endpoint.host, endpoint.port))
            tried.listen(1)
        except OSError as error:
            return error
    return None
