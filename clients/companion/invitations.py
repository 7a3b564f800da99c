"""An operator's invitation: pasted, shown for what it is, and only then taken up."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from clients.companion.actions import Action, action, then
from clients.companion.forms import Form
from clients.companion.owner import Owner
from clients.companion.pages import Page, page, show
from fedpersona.device.address import normalised
from fedpersona.errors import FedpersonaError
from fedpersona.wire.invitation import Invitation

__all__ = ["ACTIONS", "PAGES"]


@page
def ask(request: Request, owner: Owner) -> Response:
    """Show the field for an invitation."""
    return _asked(request)


def _asked(request: Request, given: str = "", problem: str = "") -> Response:
    return show(request, "invitation.html", status=400 if problem else 200, given=given, problem=problem)


@action
def read(request: Request, owner: Owner, form: Form) -> Response:
    """Show whom an invitation is of, before anything is sent."""
    given = form["invitation"].strip()
    try:
        invitation = Invitation.parse(given)
        server = normalised(invitation.address)
    except FedpersonaError as error:
        return _asked(request, given, str(error))
    pinned = owner.device.shelf.pinned_key(server)
    return show(
        request,
        "invited.html",
        given=str(invitation),
        server=server,
        federation=invitation.federation,
        operator=invitation.operator.hex(),
        token=bool(invitation.token),
        own_authority=invitation.authority is not None,
        place=owner.known().get(server),
        pinned="" if pinned in (None, invitation.operator) else pinned.hex(),
    )


@action
def enrol(request: Request, owner: Owner, form: Form) -> Response:
    """Take an invitation up."""
    given = form["invitation"]
    try:
        place = owner.enrol(Invitation.parse(given))
    except FedpersonaError as error:
        return _asked(request, given, str(error))
    said = (
        f"Enrolled with {place.federation}, as device {place.device}. Nothing of your history was sent; the notices "
        "below are for you to answer."
        if place.enrolled
        else f"{place.federation} is known now. Nothing was sent: this invitation is for fetching what is public."
    )
    return then(request, f"/consent#s{owner.servers().index(place.server)}", said)


PAGES: Mapping[str, Page] = {"/invitation": ask}
ACTIONS: Mapping[str, Action] = {"/invitation": read, "/invitation/enrol": enrol}
