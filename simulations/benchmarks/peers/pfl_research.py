"""pfl-research on a workload: a model of PyTorch, federated averaging, the person's vector as the user's state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from peers.child import Task, begin, finish
from peers.workload import BATCH, DIM, LR, NEGATIVES, SERVER_LR, Workload, draw_epoch, first_vectors
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.data.user_state import InMemoryUserStateStorage
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.bridge import FrameworkBridgeFactory
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch.nn.functional import binary_cross_entropy_with_logits


class Factors(torch.nn.Module):
    """A vector for each item, and that of the person whose turn it is."""

    def __init__(self, items: int, *, sparse: bool) -> None:
        super().__init__()
        self.items = torch.nn.Embedding(items, DIM, sparse=sparse)
        self.person = torch.nn.Parameter(torch.zeros(DIM))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        return self.items(items) @ self.person

    def loss(self, items: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return binary_cross_entropy_with_logits(self(items), labels)

    @torch.no_grad()
    def metrics(self, items: torch.Tensor, labels: torch.Tensor) -> dict[str, Weighted]:
        loss = binary_cross_entropy_with_logits(self(items), labels, reduction="sum").item()
        return {"loss": Weighted(loss, len(items))}


class History(Dataset):
    """One person's plays; every pass over them draws other items and another order."""

    def __init__(self, plays: np.ndarray, items: int, rng: np.random.Generator, user_id: str) -> None:
        super().__init__((plays,), user_id=user_id)
        self._items, self._rng = items, rng

    def __len__(self) -> int:
        return len(self._raw_data[0]) * (1 + NEGATIVES)

    def iter(self, batch_size: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        items, labels = map(torch.from_numpy, draw_epoch(self._raw_data[0], self._items, self._rng))
        size = batch_size or len(items)
        for first in range(0, len(items), size):
            yield items[first : first + size], labels[first : first + size]


class FederatedFactors(FederatedAveraging):
    """Averages the item tables; a person's vector is kept for the next time."""

    def __init__(self, storage: InMemoryUserStateStorage) -> None:
        super().__init__()
        self.storage = storage

    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        person = model.pytorch_model.person
        person.data.copy_(self.storage.load_state(user_dataset.user_id)["person"])
        FrameworkBridgeFactory.sgd_bridge().do_sgd(model, user_dataset, central_context.model_train_params)
        self.storage.save_state({"person": person.detach().clone()}, user_dataset.user_id)
        return model.get_model_difference(initial_model_state), Metrics()


class ItemTable(PyTorchModel):
    """Shares the item table alone."""

    @property
    def variable_map(self) -> dict[str, torch.Tensor]:
        return {"items.weight": self._variable_map["items.weight"]}


class Clock(TrainingProcessCallback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.times.append(time.perf_counter())
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: Any, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        self.times.append(time.perf_counter())
        return False, Metrics()


def run(task: Task, workload: Workload) -> None:
    np.random.seed(task.seed)  # noqa: NPY002 - what pfl draws by
    rng = np.random.default_rng(task.seed)
    items, people = map(torch.from_numpy, first_vectors(workload))
    storage = InMemoryUserStateStorage()
    names = [str(person) for person in range(workload.people)]
    for name, vector in zip(names, people, strict=True):
        storage.save_state({"person": vector}, name)
    order = rng.permutation(workload.people)
    histories = FederatedDataset(
        lambda name: History(workload.history(int(name)), workload.items, rng, name),
        get_user_sampler("minimize_reuse", [names[person] for person in order]),
    )
    factors = Factors(workload.items, sparse=task.variant == "sparse")
    factors.items.weight.data.copy_(items)
    model = ItemTable(
        factors,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD([factors.items.weight], lr=SERVER_LR),
    )
    clock = Clock()
    FederatedFactors(storage).run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,
            train_cohort_size=workload.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=histories, val_data=None, postprocessors=[WeightByUser()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_learning_rate=LR, local_num_epochs=task.epochs, local_batch_size=BATCH
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    vectors = torch.stack([storage.load_state(name)["person"] for name in names])
    finish(
        task,
        np.diff(clock.times).tolist(),
        ("pfl", "torch", "numpy"),
        items=factors.items.weight.detach().numpy(),
        people=vectors.numpy(),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(*begin())
