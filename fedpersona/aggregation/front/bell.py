"""The bell: how a device waits for work without asking again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from fedpersona.aggregation.front.counters import HELD
from fedpersona.aggregation.front.limits import refusal

if TYPE_CHECKING:
    from starlette.requests import Request

    from fedpersona.aggregation.front.state import Server
    from fedpersona.aggregation.front.watch import Watch

__all__ = ["HOLD_SECONDS", "come_back", "heard", "ring", "spread"]

HOLD_SECONDS = 25.0
"""A request is held so long at most: less than what proxies and mobile networks take for silence."""

_DEVICES_A_SECOND = 40  # whose work the SuperLink hands out in its stride, some ten requests each
_LONGEST_SPREAD = 60.0
_BUSY_SECONDS, _NEW_SECONDS, _IDLE_SECONDS = 5.0, 10.0, 900.0
_LATEST = 1 << 53


async def ring(request: Request) -> Response:
    """``GET /v1/bell?after=N&seconds=S``: answer once the bell is not N any more, or after S seconds (25 at most)."""
    server: Server = request.app.state.server
    asked = _asked(request)
    if asked is None:
        return refusal(400, "ask for /v1/bell?after=N, N a whole number, and &seconds=S if you like", "bell")
    after, seconds = asked
    if server.watch.picture.bell == after:
        with HELD.track_inprogress():
            await server.watch.rung(after, seconds)
    return JSONResponse(heard(server), headers={"cache-control": "no-store"})


def heard(server: Server) -> dict[str, Any]:
    """Return what is said to a device that asked for the bell."""
    picture = server.watch.picture
    return {
        "bell": picture.bell,
        "busy": picture.busy,
        "spread": spread(server.watch),
        "come_back": come_back(server.watch),
    }


def spread(watch: Watch) -> float:
    """Return over how many seconds devices should come after the bell, so that they do not come all at once."""
    return round(min(len(watch.picture.allowed) / _DEVICES_A_SECOND, _LONGEST_SPREAD), 3)


def come_back(watch: Watch) -> float:
    """Return after how many seconds a device that does not wait should ask again."""
    if watch.picture.busy:
        return _BUSY_SECONDS
    return _NEW_SECONDS if watch.picture.release is None else _IDLE_SECONDS  # the first training is awaited


def _asked(request: Request) -> tuple[int, float] | None:
    query = request.query_params
    text, seconds = query.get("after", "-1"), query.get("seconds", "25")
    if len(text) > 17 or len(seconds) > 17 or len(query) > 2:
        return None
    try:
        after, patience = int(text), float(seconds)
    except ValueError:
        return None
    if not -1 <= after < _LATEST or not math.isfinite(patience):
        return None
    return after, min(max(patience, 0.0), HOLD_SECONDS)
