"""What the front counts of its own traffic: numbers by path, status and reason, never by device."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

__all__ = ["BYTES", "CONNECTIONS", "HELD", "METRICS", "REFUSED", "REQUESTS"]

METRICS = CollectorRegistry()
"""The front's own metrics, of this process; the ops app shows them."""

REQUESTS = Counter(
    "fedpersona_front_requests", "Requests answered, by path and status.", ["path", "status"], registry=METRICS
)
BYTES = Counter(
    "fedpersona_front_bytes",
    "Bytes of bodies, by path and direction (in, out).",
    ["path", "direction"],
    registry=METRICS,
)
REFUSED = Counter("fedpersona_front_refused", "What the front turned away, by reason.", ["reason"], registry=METRICS)
CONNECTIONS = Gauge("fedpersona_front_connections", "Connections that are open, TLS agreed.", registry=METRICS)
HELD = Gauge("fedpersona_front_held", "Devices that wait for the bell.", registry=METRICS)
