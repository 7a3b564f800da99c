"""How one purpose stands with one server, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from fedpersona.device.notice import Purpose

__all__ = ["GPC_ON", "GPC_VARIABLE", "ConsentState", "Status", "advice", "gpc_variable_on"]

Status: TypeAlias = Literal[
    "unasked", "granted", "refused", "withdrawn", "expired", "notice changed", "refused by Global Privacy Control"
]

GPC_VARIABLE = "FEDPERSONA_GLOBAL_PRIVACY_CONTROL"
"""Environment variable that counts as a no to everything: see :func:`gpc_variable_on`."""

_OFF = frozenset(("", "0", "false", "no", "off"))

GPC_ON = (
    "Global Privacy Control is on, which counts as a no to everything: turn it off "
    f"(consent.global_privacy_control = False, and {GPC_VARIABLE} where it is set), then answer again"
)


_LAST_DATE = 253_402_300_799  # the end of the year 9999, the last that Python's dates can name


@dataclass(frozen=True)
class ConsentState:
    """How one purpose stands with one server."""

    purpose: Purpose
    server: str
    """The normalised address."""
    status: Status
    since: int | None = None
    """When it came to stand so, in Unix seconds; None where nobody was asked."""
    until: int | None = None
    """When a yes ends or ended, in Unix seconds."""

    @property
    def granted(self) -> bool:
        """Whether something may be sent."""
        return self.status == "granted"

    def __str__(self) -> str:
        words = f"{self.purpose} for {self.server}: {self.status}"
        if self.since is not None:
            words += f" since {_date(self.since)}"
        if self.granted and self.until is not None:
            words += f", until {_date(self.until)}"
        return words

    def to_dict(self) -> dict[str, Any]:
        """Return it JSON-native."""
        return {
            "purpose": self.purpose,
            "server": self.server,
            "status": self.status,
            "since": self.since,
            "until": self.until,
        }


def gpc_variable_on(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment variable says no: whatever it is but empty, 0, false, no or off, in any case.

    Unlike the header, which says no by ``1`` alone, a person types it: what they may have meant as a no is one.
    """
    return environment.get(GPC_VARIABLE, "").strip().lower() not in _OFF


def _date(at: int) -> str:
    if at > _LAST_DATE:
        return "after the year 9999"
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y").lstrip("0")


def advice(state: ConsentState) -> str:
    """Return why nothing may be sent, and what to do, as one sentence."""
    about = f"{state.purpose} for {state.server}"
    ask = f"read the notice, then consent.grant('{state.purpose}', server='{state.server}') if you want to"
    if state.status == "refused by Global Privacy Control":
        return f"{about}: {GPC_ON}"
    told = {
        "unasked": "you have not been asked yet",
        "refused": "you said no",
        "withdrawn": "you took your yes back",
        "expired": "your yes has run out",
        "notice changed": "what you said yes to has changed since",
    }[state.status]
    return f"{about}: {told}, so nothing is sent; {ask}"
