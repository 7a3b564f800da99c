"""The compiled cohort kernel for factor models: one device at a time in a small arena of the rows that it touches.

C in ``source/``, built by ``hatch_build.py``; :mod:`fedpersona.taste.gradient.descent` says what it computes.
"""

from __future__ import annotations

from fedpersona.simulation.kernel.library import VARIANTS, Library, absence, library
from fedpersona.simulation.kernel.trainer import Histories, Moved, Summing, Trainer

__all__ = ["VARIANTS", "Histories", "Library", "Moved", "Summing", "Trainer", "absence", "library"]
