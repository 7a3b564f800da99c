"""RIGHT of the wall: who is asked, what is summed, what is released. Never anyone's history."""

from fedpersona.aggregation.coordinator import Collector, Coordinator, RoundReport
from fedpersona.aggregation.sampling import sample_cohort

__all__ = ["Collector", "Coordinator", "RoundReport", "sample_cohort"]
