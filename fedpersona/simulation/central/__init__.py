"""Central twins: the same models fitted on the whole matrix by someone who sees everything. The ceiling in reports.

Plain implementations, on other routes than the federated ones where there are any; only ``simulation`` uses them.
"""

from fedpersona.simulation.central.ease import central_ease
from fedpersona.simulation.central.ials import CentralIALS, central_ials
from fedpersona.simulation.central.item_knn import central_item_knn
from fedpersona.simulation.central.subspace import CentralSubspace, central_subspace
from fedpersona.simulation.central.twins import Twin, twins_of

__all__ = [
    "CentralIALS",
    "CentralSubspace",
    "Twin",
    "central_ease",
    "central_ials",
    "central_item_knn",
    "central_subspace",
    "twins_of",
]
