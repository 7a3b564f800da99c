"""Fast cohort forms of the taste models: many devices at once, equal to the one-device functions, by test."""

from __future__ import annotations

from fedpersona.errors import UnknownName
from fedpersona.simulation.cohort.ease import EaseCohort
from fedpersona.simulation.cohort.form import CohortForm
from fedpersona.simulation.cohort.ials import IALSCohort
from fedpersona.simulation.cohort.popularity import PopularityCohort
from fedpersona.simulation.cohort.subspace import SubspaceCohort
from fedpersona.taste import IALS, Ease, Popularity, Subspace, TasteModel

__all__ = ["CohortForm", "cohort_form"]


def cohort_form(model: TasteModel) -> CohortForm:
    """Return the cohort form of a model.

    Raises:
        UnknownName: the model has none; the engine ``device`` runs any model.
    """
    match model:
        case Popularity():
            return PopularityCohort(model)
        case Subspace():
            return SubspaceCohort(model)
        case Ease():
            return EaseCohort(model)
        case IALS():
            return IALSCohort(model)
    raise UnknownName("cohort form", model.name, ("popularity", "subspace", "ease", "ials"))
