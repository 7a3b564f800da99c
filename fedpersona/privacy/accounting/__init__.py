"""Accounts of differential privacy: what a list of releases costs a person, and what noise keeps it within a limit.

The only room that knows ``dp-accounting``, which takes a second to load: it is loaded when an account is made.
"""

from fedpersona.privacy.accounting.accounts import Account, account
from fedpersona.privacy.accounting.calibration import calibrate
from fedpersona.privacy.accounting.events import (
    BandedRelease,
    Event,
    GaussianRelease,
    SampledGaussianRelease,
    event_from_record,
    event_record,
)

__all__ = [
    "Account",
    "BandedRelease",
    "Event",
    "GaussianRelease",
    "SampledGaussianRelease",
    "account",
    "calibrate",
    "event_from_record",
    "event_record",
]
