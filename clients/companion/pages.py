"""The pages: what is shown. Nothing here changes what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from clients.companion import pictures, wording
from clients.companion.owner import Owner
from clients.companion.security import FORM_SECRET, Session
from fedpersona.device.consent import ConsentState
from fedpersona.device.floors import sentences
from fedpersona.device.membership import Membership
from fedpersona.device.notice import PURPOSES, Notice, notice
from fedpersona.device.spending import Spent
from fedpersona.device.weekly import Level, WeeklyPlaylist
from fedpersona.errors import ChainBroken, FedpersonaError, InputError
from fedpersona.playlists import FORMATS, Playlist, Track, render
from fedpersona.simulation.practice import PRACTICE

__all__ = ["PAGES", "Page", "http_error", "named_error", "no_session", "not_our_form", "page", "show"]

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(
    form_secret_name=FORM_SECRET,
    counted=wording.counted,
    place=wording.place,
    percent=wording.percent,
    in_fours=wording.in_fours,
)

_MENU = (
    ("/", "This week"),
    ("/kept", "What is kept"),
    ("/left", "What left"),
    ("/consent", "Yes or no"),
    ("/yours", "Yours"),
)
_MEDIA = {"xspf": "application/xspf+xml", "jspf": "application/json", "m3u8": "application/vnd.apple.mpegurl"}
_MOST_ENTRIES = 500
_TOP_ARTISTS = 12
_UNDER_WAY = ("starting", "visiting")

Page = Callable[[Request], Response]


def page(shown: Callable[[Request, Owner], Response]) -> Page:
    """Make a page of a function that is given the owner. It runs in a thread of its own."""

    @wraps(shown)
    def shown_page(request: Request) -> Response:
        owner: Owner = request.app.state.owner
        if owner.forgotten is not None:
            return farewell(request)
        owner.heed(request.headers.get("sec-gpc"))
        return shown(request, owner)

    return shown_page


def show(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page of a template, for the session of a request."""
    owner: Owner = request.app.state.owner
    session: Session = request.state.session
    said, session.said = session.said, ""
    return _render(
        template,
        status,
        menu=_MENU,
        here=request.url.path,
        said=said,
        form_secret=session.form_secret,
        words=owner.wording,
        gpc=owner.forgotten is None and _gpc(owner),
        **values,
    )


def _gpc(owner: Owner) -> bool:
    try:
        return owner.device.consent.global_privacy_control
    except FedpersonaError:  # a page that tells of the broken chain must still come
        return False


def _render(template: str, status: int, **values: Any) -> HTMLResponse:
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status)


@page
def week(request: Request, owner: Owner) -> Response:
    """Show this week's playlist."""
    made = owner.device.playlist()
    return show(
        request,
        "week.html",
        made=made,
        personal=made.level is not Level.WELL_KNOWN,
        empty=owner.device.vault.count() == 0,
        formats=tuple(FORMATS),
    )


@page
def save(request: Request, owner: Owner) -> Response:
    """Give this week's playlist as a file, made in memory."""
    made = owner.device.playlist()
    ending = request.path_params["ending"]
    name = f"week-{made.year}-W{made.week:02}.{ending}"
    return Response(
        render(_plain(made), ending),
        media_type=_MEDIA.get(ending),
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _plain(made: WeeklyPlaylist) -> Playlist:
    tracks = tuple(Track(one.title, one.artist, reason=one.reason, ids=one.ids) for one in made.items)
    return Playlist(made.title, made.made, tracks, annotation=made.note)


@page
def kept(request: Request, owner: Owner) -> Response:
    """Show what is kept, as pictures."""
    vault, catalogue = owner.device.vault, owner.device.catalogue
    count = vault.count()
    if not count:
        return show(request, "kept_nothing.html", keeping=wording.keeping(vault.retention_days))
    months = vault.by_month(owner.zone)
    artists = vault.top_artists(_TOP_ARTISTS)
    found = owner.map()
    return show(
        request,
        "kept.html",
        count=count,
        span=vault.span(),
        keeping=wording.keeping(vault.retention_days),
        retention_days=vault.retention_days,
        known=vault.matched(catalogue),
        catalogue=catalogue,
        charts=[pictures.bars_by_time(months, width, height) for width, height in ((760, 230), (340, 190))],
        artists=list(zip(artists, pictures.shares([plays for _, plays in artists], 100.0), strict=True)),
        map=found,
        maps=[]
        if found is None
        else [pictures.draw_map(found, catalogue, width, height) for width, height in ((760, 620), (340, 420))],
        notices=owner.device.notices,
        folder=owner.device.folder,
    )


@page
def left(request: Request, owner: Owner) -> Response:
    """Show the ledger, newest first."""
    ledger = owner.device.ledger
    broken, checked, entries, older, spent = "", 0, [], None, Spent()
    try:
        checked = ledger.verify()
        entries = list(reversed(ledger.tail(_MOST_ENTRIES)))
        older, spent = owner.device.rolled_back, ledger.spent()
    except ChainBroken as error:
        broken = str(error)
    told = [(entry, wording.headline(entry), wording.facts(entry)) for entry in entries]
    return show(
        request,
        "left.html",
        entries=told,
        gone=sum(entry.left for entry in entries),
        checked=checked,
        broken=broken,
        older=older,
        spent=None if spent == Spent() else spent,
        most=_MOST_ENTRIES,
    )


@dataclass(frozen=True)
class Card:
    """One purpose for one server."""

    number: str
    title: str
    notice: Notice
    paragraphs: tuple[wording.Paragraph, ...]
    state: ConsentState
    standing: str


@dataclass(frozen=True)
class Known:
    """One server, with what this device is to it."""

    number: str
    address: str
    practised: bool
    place: Mapping[str, Any] | None
    """As an export tells it; None where no invitation of it was taken up."""
    cards: tuple[Card, ...]
    membership: Membership | None


@page
def consent(request: Request, owner: Owner) -> Response:
    """Show every purpose of every server known, with how it stands."""
    servers = [_server(owner, f"s{place}", server) for place, server in enumerate(owner.servers())]
    return show(
        request,
        "consent.html",
        servers=servers,
        epoch=owner.device.consent.epoch,
        floors=[words for _, words in sentences(owner.device.policy)],
        browser_gpc=request.headers.get("sec-gpc", "").strip() == "1",
        looking=any(one.membership is not None and one.membership.state in _UNDER_WAY for one in servers),
    )


def _server(owner: Owner, number: str, server: str) -> Known:
    cards = tuple(_card(owner, server, purpose, f"{number}-{purpose.replace('_', '-')}") for purpose in PURPOSES)
    return Known(number, server, server == PRACTICE, owner.known().get(server), cards, owner.membership(server))


def _card(owner: Owner, server: str, purpose: str, number: str) -> Card:
    found, state = notice(purpose), owner.device.consent.state(purpose, server)
    return Card(
        number, wording.title(found.text), found, wording.paragraphs(found.text), state, owner.wording.standing(state)
    )


@page
def yours(request: Request, owner: Owner) -> Response:
    """Show the ways in and out: import, export, forget."""
    brought, owner.brought = owner.brought, None
    return show(
        request,
        "yours.html",
        count=owner.device.vault.count(),
        brought=brought,
        folder=owner.device.folder,
        keeping=wording.keeping(owner.device.vault.retention_days),
    )


@page
def forget(request: Request, owner: Owner) -> Response:
    """Ask once more before everything is deleted."""
    return forget_page(request, owner)


def forget_page(request: Request, owner: Owner, *, mistyped: bool = False) -> Response:
    """Show what would be deleted, and the field to say so."""
    return show(
        request,
        "forget.html",
        status=400 if mistyped else 200,
        count=owner.device.vault.count(),
        folder=owner.device.folder,
        mistyped=mistyped,
    )


def farewell(request: Request) -> Response:
    """Say what was deleted: the last page."""
    return _render("farewell.html", 200, forgotten=request.app.state.owner.forgotten)


def named_error(request: Request, error: Exception) -> Response:
    """Show an error of ours: its sentence says what happened and what to do."""
    return _trouble(request, 400 if isinstance(error, InputError) else 409, "That did not work", str(error))


def not_our_form(request: Request, error: Exception) -> Response:
    """Show that a form came from elsewhere, or from before the Companion was started anew."""
    words = (
        "This form was not made by the page you have open, so nothing was done. Go back, load the page and try again."
    )
    return _trouble(request, 403, "Not our form", words)


def http_error(request: Request, error: Exception) -> Response:
    """Show that there is no such page, or that it takes no such request."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    if status == 404:
        return _trouble(request, 404, "No such page", "There is nothing at this address.")
    return _trouble(request, status, "Not like this", "This address does not take such a request.")


def _trouble(request: Request, status: int, title: str, words: str) -> Response:
    owner: Owner = request.app.state.owner
    if owner.forgotten is not None:
        return farewell(request)
    if not hasattr(request.state, "session"):
        return no_session(status, title, words)
    return show(request, "trouble.html", status=status, title=title, problem=words)


def no_session(status: int, title: str, words: str) -> Response:
    """Show a page to a browser that was not let in: it tells nothing of the owner."""
    return _render("no_session.html", status, title=title, problem=words)


PAGES: Mapping[str, Page] = {
    "/": week,
    "/save/{ending}": save,
    "/kept": kept,
    "/left": left,
    "/consent": consent,
    "/yours": yours,
    "/forget": forget,
}
