"""Taste models: pure functions that device, server and simulator share. No I/O, and no model knows who sums."""

from fedpersona.taste.ease import Ease
from fedpersona.taste.gradient import FactorModel, FedMF, FedRecon, GradientModel, PFedRec
from fedpersona.taste.ials import IALS
from fedpersona.taste.model import Private, Shared, TasteModel
from fedpersona.taste.popularity import Popularity
from fedpersona.taste.registry import MODELS, create
from fedpersona.taste.subspace import Subspace

__all__ = [
    "IALS",
    "MODELS",
    "Ease",
    "FactorModel",
    "FedMF",
    "FedRecon",
    "GradientModel",
    "PFedRec",
    "Popularity",
    "Private",
    "Shared",
    "Subspace",
    "TasteModel",
    "create",
]
