"""The owner's floors: seen in words, changed in a form, lowered only once it was read what that means."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from clients.companion.actions import Action, action, then
from clients.companion.forms import Form
from clients.companion.owner import Owner
from clients.companion.pages import Page, page, show
from fedpersona.device.floors import FLOORS, changed, lowered, sentences, written
from fedpersona.device.policy import Policy
from fedpersona.errors import ConfigError
from fedpersona.taste import MODELS

__all__ = ["ACTIONS", "PAGES"]

_NAMES = {
    "least_cohort": "Fewest devices in a sum",
    "least_neighbours": "Fewest devices to mask with",
    "least_threshold": "Share of these that takes a mask off",
    "allow_unmasked": "May go unmasked",
    "largest_clip": "Greatest length",
    "largest_epsilon": "Limit on privacy loss",
    "most_rounds_a_day": "Most rounds a day",
    "least_hours_between": "Hours between trainings",
    "least_separation": "Rounds of which one is answered",
    "most_rounds_of_a_run": "Most rounds of a training",
    "largest_upload": "Most data a round",
    "models": "Taste models",
}
_MODEL = "model-"


@page
def floors(request: Request, owner: Owner) -> Response:
    """Show the floors, each with a field."""
    return _form(request, owner, written(owner.device.policy))


def _form(request: Request, owner: Owner, values: Mapping[str, str], problem: str = "") -> Response:
    return show(
        request,
        "floors.html",
        status=400 if problem else 200,
        floors=[(name, _NAMES[name], words, FLOORS[name]) for name, words in sentences(owner.device.policy)],
        values=values,
        models=list(MODELS),
        allowed=values["models"].split(","),
        usual=owner.device.policy == Policy(),
        problem=problem,
    )


@action
def change(request: Request, owner: Owner, form: Form) -> Response:
    """Change the floors; where one is lowered, ask once more."""
    before = owner.device.policy
    wishes = written(Policy()) if form["usual"] else _wished(form)
    try:
        after = changed(before, wishes)
    except ConfigError as error:
        return _form(request, owner, written(before) | wishes, str(error))
    meant = {_NAMES[name]: words for name, words in lowered(before, after).items()}
    known = form["sure"] == "1" and written(before) == {name: form[f"before-{name}"] for name in FLOORS}
    if meant and not known:  # what is lowered is told against the floors as they are now
        return show(request, "lower.html", meant=meant, values=written(after), before=written(before))
    if after == before:
        return then(request, "/consent#floors", "Your floors are as they were.")
    owner.device.policy = after
    return then(request, "/consent#floors", "Your floors are changed: the next round is held against them.")


def _wished(form: Form) -> dict[str, str]:
    """Return what the form says: a tick is a truth, and a model's tick is its name."""
    if form["sure"]:
        return {name: form[name] for name in FLOORS}
    wishes = {name: form[name] for name in FLOORS if name not in ("allow_unmasked", "models")}
    wishes["allow_unmasked"] = "true" if form["allow_unmasked"] else "false"
    wishes["models"] = ",".join(name for name in MODELS if form[_MODEL + name]) or "none"
    return wishes


PAGES: Mapping[str, Page] = {"/floors": floors}
ACTIONS: Mapping[str, Action] = {"/floors": change}
