"""The taste models that come with fedpersona, by name: the closed vocabulary of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from fedpersona.errors import ConfigError, UnknownName
from fedpersona.taste.ease import Ease
from fedpersona.taste.gradient import FedMF, FedRecon, PFedRec
from fedpersona.taste.ials import IALS
from fedpersona.taste.model import TasteModel
from fedpersona.taste.neural import FedNCF
from fedpersona.taste.popularity import Popularity
from fedpersona.taste.subspace import Subspace

__all__ = ["MODELS", "create", "make"]

MODELS: Mapping[str, type[TasteModel]] = {
    model.name: model for model in (Popularity, Subspace, Ease, IALS, FedMF, FedRecon, PFedRec, FedNCF)
}
"""Every model by name, the floor first."""


def create(name: str, settings: Mapping[str, Any] | None = None) -> TasteModel:
    """Make a model from its name and settings.

    Raises:
        UnknownName: there is no such model, or the model has no such setting.
        ConfigError: a setting is out of its range.
    """
    if name not in MODELS:
        raise UnknownName("model", name, tuple(MODELS))
    return make(MODELS[name], name, settings)


def make(kind: type[TasteModel], name: str, settings: Mapping[str, Any] | None = None) -> TasteModel:
    """Make a model of a class with settings; errors as of :func:`create`."""
    for setting in settings or {}:
        if setting not in kind.model_fields:
            raise UnknownName(f"setting of {name}", setting, tuple(kind.model_fields))
    try:
        return kind(**(settings or {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{name}: setting '{place}' is {first['input']!r}: {first['msg'].lower()}") from None
