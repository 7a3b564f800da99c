"""What the owner does: every action is a form that carries the session's secret, and ends at a page."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import BinaryIO, cast

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clients.companion import pages, wording
from clients.companion.forms import Form, read_form
from clients.companion.owner import Brought, Owner
from clients.companion.security import Session
from fedpersona import sources
from fedpersona.device.consent import ConsentState
from fedpersona.device.export import export_to
from fedpersona.errors import ConfigError

__all__ = ["ACTIONS", "Action", "action", "then"]

_FAREWELL = 3.0  # seconds for the browser to fetch the last page's style
_FORGET = "FORGET"

Action = Callable[[Request], Awaitable[Response]]


def action(done: Callable[[Request, Owner, Form], Response]) -> Action:
    """Make an action of a function that is given the owner and the form. It runs in a thread of its own."""

    async def taken(request: Request) -> Response:
        owner: Owner = request.app.state.owner
        session: Session = request.state.session
        form = await read_form(request, session)

        def work() -> Response:
            if owner.forgotten is not None:
                return pages.farewell(request)
            owner.heed(request.headers.get("sec-gpc"))
            return done(request, owner, form)

        try:
            return await run_in_threadpool(work)
        finally:
            if form.upload is not None:
                form.upload.close()

    return taken


def then(request: Request, path: str, said: str) -> Response:
    """Go on to a page, which says once what was done."""
    session: Session = request.state.session
    session.said = said
    return RedirectResponse(path, 303)


@action
def answer(request: Request, owner: Owner, form: Form) -> Response:
    """Record a yes or a no."""
    purpose, server, consent = form["purpose"], form["server"], owner.device.consent
    match form["answer"]:
        case "grant":
            state = consent.grant(purpose, server=server, seen=_whole_number(form["seen"]))
        case "refuse":
            state = consent.refuse(purpose, server=server)
        case "withdraw":
            state = consent.withdraw(purpose, server=server)
        case _:
            raise ConfigError("an answer is one of grant, refuse and withdraw: go back and choose one")
    anchor = form["card"] if form["card"].replace("-", "").isalnum() else ""
    return then(request, f"/consent#{anchor}", _answered(owner, state))


def _answered(owner: Owner, state: ConsentState) -> str:
    about = f"{wording.purpose(state.purpose)}, {wording.place(state.server)}"
    return f"{about}: {wording.answer(state)}. {owner.wording.standing(state)}"


def _whole_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 16 else None


@action
def name_server(request: Request, owner: Owner, form: Form) -> Response:
    """Show the cards of another server."""
    server = owner.name_server(form["server"])
    return then(
        request, f"/consent#s{owner.servers().index(server)}", f"{server} is listed below; it was told nothing."
    )


@action
def visit(request: Request, owner: Owner, form: Form) -> Response:
    """Visit a server now."""
    server = form["server"]
    membership = owner.visit(server)
    return then(request, "/consent", f"Visit to {wording.place(membership.server)}: {membership.state}.")


@action
def leave(request: Request, owner: Owner, form: Form) -> Response:
    """Visit a server no more, as long as the Companion runs; the place there and the answers stay as they are."""
    owner.leave(form["server"])
    return then(request, "/consent", "Stopped. Your place there and your answers stay as they are.")


@action
def give_up(request: Request, owner: Owner, form: Form) -> Response:
    """Give up the place with a server; answers stay as they are."""
    server = form["server"]
    known = owner.give_up(server)
    said = "is forgotten, with the keys made for it. Your answers stay" if known else "was not known to this device"
    return then(request, "/consent", f"{wording.place(server)} {said}.")


@action
def privacy_control(request: Request, owner: Owner, form: Form) -> Response:
    """Turn Global Privacy Control on, or off where neither the browser nor the environment asks for it."""
    consent = owner.device.consent
    consent.global_privacy_control = form["on"] == "1" or request.headers.get("sec-gpc", "").strip() == "1"
    if consent.global_privacy_control:
        said = "Global Privacy Control is on: it counts as a no to everything."
    else:
        said = "Global Privacy Control is off. No yes came back by that: answer anew where you want to."
    return then(request, "/consent", said)


@action
def acknowledge(request: Request, owner: Owner, form: Form) -> Response:
    """Go on with an older copy of the vault, of which its owner knows."""
    owner.device.acknowledge()
    return then(request, "/left", "Written down. Look at your answers before anything is sent again.")


@action
def retention(request: Request, owner: Owner, form: Form) -> Response:
    """Change how long listens are kept."""
    days = _whole_number(form["days"])
    if days is None:
        raise ConfigError("how long listens are kept is a whole number of days: go back and write one")
    owner.device.vault.retention_days = days
    kept = wording.keeping(owner.device.vault.retention_days)
    return then(request, "/kept", f"Listens are kept for {kept} from now on; older ones are deleted.")


@action
def bring_in(request: Request, owner: Owner, form: Form) -> Response:
    """Import a history from the file in the form."""
    upload = form.upload
    if upload is None or not upload.name:
        raise ConfigError("no file was chosen: go back and choose the zip or file that your music service gave you")
    reading = sources.read(cast("BinaryIO", upload), name=upload.name)
    added = owner.device.vault.add(reading)
    owner.device.ledger.imported(what=f"{wording.counted(added.new, 'listen')}, by the owner")
    owner.brought = Brought(reading.summary, added, owner.device.vault.matched(owner.device.catalogue))
    return then(request, "/yours", f"Imported: {wording.counted(added.new, 'new listen')}.")


@action
def take_out(request: Request, owner: Owner, form: Form) -> Response:
    """Give everything that is kept as a zip, made in memory."""
    made = io.BytesIO()
    export_to(made, owner.device)
    owner.device.ledger.exported(what="everything kept here, for the owner, as zip")
    today = datetime.fromtimestamp(owner.device.clock.now()).astimezone(owner.zone)
    return Response(
        made.getvalue(),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="fedpersona-{today:%Y-%m-%d}.zip"'},
    )


@action
def forget(request: Request, owner: Owner, form: Form) -> Response:
    """Delete everything, once the owner has typed the word, and stop the server after the farewell."""
    if form["word"].strip() != _FORGET:
        return pages.forget_page(request, owner, mistyped=True)
    owner.forget()
    response = pages.farewell(request)
    response.background = BackgroundTask(_stop_soon, request.app.state.stop)
    return response


async def _stop_soon(stop: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(_FAREWELL, stop)


ACTIONS: Mapping[str, Action] = {
    "/consent/answer": answer,
    "/consent/server": name_server,
    "/consent/visit": visit,
    "/consent/leave": leave,
    "/consent/give-up": give_up,
    "/consent/privacy-control": privacy_control,
    "/left/acknowledge": acknowledge,
    "/kept/retention": retention,
    "/yours/import": bring_in,
    "/yours/export": take_out,
    "/forget": forget,
}
