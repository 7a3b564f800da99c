"""What can go wrong between a device and a server, in our words."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from fedpersona.errors import FedpersonaError, ServerUnreachable, ServerUntrusted

__all__ = ["in_our_words"]

# OpenSSL's reasons, openssl/x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_HOST = (62, 64)
_LATER = "it is tried again later"


def in_our_words(error: Exception, address: str, seconds: float) -> FedpersonaError:
    """Return an error of a connection as one of ours; none of its own words is used, since they could hold anything.

    Args:
        error: what httpx or the system raised, or one of ours.
        address: the server's.
        seconds: how long the call was to last.
    """
    if isinstance(error, FedpersonaError):
        return error
    import httpx

    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ServerUntrusted(f"{address}: {_certificate(cause)}; nothing was sent")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return ServerUntrusted(f"{address}: what answers there does not speak TLS as agreed (1.2 or later)")
    if isinstance(error, httpx.TimeoutException):
        return ServerUnreachable(f"{address}: no answer within {seconds:g} seconds; {_LATER}")
    if isinstance(error, httpx.ConnectError):
        return ServerUnreachable(f"{address}: no server answers there{_reason(causes)}; {_LATER}")
    if isinstance(error, httpx.RemoteProtocolError):
        return ServerUnreachable(f"{address}: the answer is cut off or no HTTP; {_LATER}")
    if isinstance(error, httpx.TransportError):
        return ServerUnreachable(f"{address}: the connection broke{_reason(causes)}; {_LATER}")
    return ServerUnreachable(f"{address}: could not be asked ({type(error).__name__}); {_LATER}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(causes: tuple[BaseException, ...]) -> str:
    words = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
    return f" ({words})" if words else ""


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_HOST:
        return "its certificate is that of another host"
    if error.verify_code == _EXPIRED:
        return "its certificate has run out (or this device's clock is wrong)"
    if error.verify_code == _NOT_YET_VALID:
        return "its certificate is not valid yet (or this device's clock is wrong)"
    return "its certificate does not come from the authority that was agreed"
