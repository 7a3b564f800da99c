"""``fedpersona device enrol``: how an invitation is given, and what is said of the place it gave."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fedpersona.errors import DataNotFound, EnrolmentRefused

if TYPE_CHECKING:
    from fedpersona.device.identity import Identity
    from fedpersona.wire.invitation import Invitation

__all__ = ["invited", "outcome_words"]

_LARGEST = 65536  # bytes of a file with an invitation


def invited(given: str) -> Invitation:
    """Return the invitation that was given: itself, a file's name, or ``-`` for what comes in.

    Raises:
        DataNotFound: it is neither an invitation nor a file that can be read.
        EnrolmentRefused: it is cut off, or the file holds none.
    """
    from fedpersona.wire.invitation import Invitation

    if given == "-":
        return Invitation.parse(sys.stdin.read(_LARGEST))
    if given.strip().startswith("fedpersona1."):
        return Invitation.parse(given)
    return _in_file(Path(given).expanduser())


def _in_file(path: Path) -> Invitation:
    from fedpersona.wire.invitation import Invitation

    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8-sig", "replace")
    except (OSError, ValueError):
        raise DataNotFound(
            "is neither an invitation, which begins with 'fedpersona1.', nor a file that can be read", path=path
        ) from None
    try:
        return Invitation.parse(text)
    except EnrolmentRefused as error:
        raise EnrolmentRefused(f"{path}: {error}") from None


def outcome_words(place: Identity) -> str:
    """Say with whom the device is enrolled, what was sent, and what comes next.

    Args:
        place: what the device is to the server now.
    """
    key = f"The operator's key is {place.operator.hex()}: what another key signs is refused from now on."
    join = f"fedpersona device join {place.server}"
    if not place.enrolled:
        return (
            f"Known: '{place.federation}' at {place.server}. This invitation is for fetching what is public; nothing "
            f"was sent.\n{key}\nNext: {join}"
        )
    sent = "Sent: two public keys made for this server alone, and the invitation's token; nothing of your history."
    return (
        f"Enrolled with '{place.federation}' at {place.server}, as device {place.device}.\n{sent}\n{key}\n"
        "Next, if you want to contribute, read the notice and say yes: "
        f"fedpersona device consent grant share_update --server {place.server}\nThen: {join}"
    )
