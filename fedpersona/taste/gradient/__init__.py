"""Taste models that are trained by gradient descent on devices."""

from fedpersona.taste.gradient.factors import FactorModel
from fedpersona.taste.gradient.fedmf import FedMF
from fedpersona.taste.gradient.fedrecon import FedRecon
from fedpersona.taste.gradient.model import GradientModel
from fedpersona.taste.gradient.pfedrec import PFedRec

__all__ = ["FactorModel", "FedMF", "FedRecon", "GradientModel", "PFedRec"]
