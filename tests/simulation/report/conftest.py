import numpy as np
import pytest

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.record import (
    DataFacts,
    Privacy,
    PrivacyPoint,
    Result,
    RoundFigures,
    RunConfig,
    RunRecord,
    ServingChoice,
)
from fedpersona.taste import Shared

_SERVING = ServingChoice(recency=20.0, discount=0.1, val_ndcg=0.15)


def invented_result(name="subspace", role="federated", ndcg=0.16, **changes):
    figures = {"ndcg@10": ndcg, "recall@20": 0.3, "mrr": 0.12, "hr@10": 0.2}
    whole = {
        "name": name,
        "role": role,
        "serving": _SERVING,
        "val": figures,
        "test": figures,
        "intervals": {metric: (value * 0.9, value * 1.1) for metric, value in figures.items()},
        "sampled": {"hr@10": 0.777, "ndcg@10": 0.555},
        "discovery": {"coverage": 0.3, "gini": 0.9, "novelty_bits": 4.2, "intra_list_diversity": 0.8},
        "tertiles": {group: {"ndcg@10": ndcg, "recall@20": 0.3} for group in ("mainstream", "middle", "niche", "gap")},
        "rounds": 2 if role == "federated" else None,
        "bytes_up": 5_160_000 if role == "federated" else None,
        "bytes_down": 5_161_024 if role == "federated" else None,
        "seconds": 1.5,
    }
    return Result(**(whole | changes))


def invented_round(number, answered=300, test=0.15):
    return RoundFigures(
        round_number=number,
        answered=answered,
        bytes_up=2_580_000,
        bytes_down=2_580_512,
        ring_bits=32,
        seconds_collecting=0.1,
        seconds_applying=2.0,
        val_ndcg=test,
        test_ndcg=test,
    )


def invented_record(results=None, config=None, data=None, **changes):
    facts = {"name": "invented", "hash": "a" * 64, "question": "c" * 64, "kind": "track", "people": 300, "items": 120}
    facts |= {"interactions": 4000, "timed": True}
    whole = {
        "config": RunConfig(**({"dataset": "synthetic", "people": 300} | (config or {}))),
        "settings": {"dim": 8, "recency": 20.0},
        "versions": {"python": "3.11.7", "fedpersona": "0.1.0"},
        "git_revision": None,
        "started": "2026-01-05T10:00:00+00:00",
        "data": DataFacts(**(facts | (data or {}))),
        "rounds": [invented_round(1, test=0.14), invented_round(2, test=0.16)],
        "tuning": [ServingChoice(recency=None, discount=0.0, val_ndcg=0.14), _SERVING],
        "results": [
            invented_result("popularity", "floor", 0.05),
            invented_result(),
            invented_result("subspace, central", "ceiling", 0.17),
        ]
        if results is None
        else results,
        "model_hash": "b" * 64,
        "seconds": {"reading": 0.1, "training": 2.5},
    }
    return RunRecord(**(whole | changes))


def invented_privacy(epsilons=(1.0, 8.0), **changes):
    whole = {
        "epsilon": epsilons[-1],
        "delta": 1e-5,
        "noise": "central",
        "noise_multipliers": [2.0, 0.6],
        "deviation": 0.6,
        "rounds": 2,
        "people": 300,
        "shares": None,
        "epsilon_pld": 7.9999,
        "epsilon_rdp": 8.5994,
        "epsilon_exact": 7.9998,
        "mu": 1.666,
        "sentence": "Whether or not you take part can be guessed from it.",
        "curve": [
            PrivacyPoint(
                epsilon=epsilon,
                deviation=5.0 / epsilon,
                ndcg=0.1 + 0.007 * epsilon,
                interval=(0.09 + 0.007 * epsilon, 0.11 + 0.007 * epsilon),
                popularity=0.04,
            )
            for epsilon in epsilons
        ],
    }
    return Privacy(**(whole | changes))


def private_record(privacy=None, config=None, results=None, **changes):
    """A record under a promise, with the floor and the ceiling that a private run has."""
    if results is None:
        results = [
            invented_result("popularity", "floor", 0.05),
            invented_result("noisy popularity", "floor", 0.04),
            invented_result(ndcg=0.156),
            invented_result("subspace, no noise", "ceiling", 0.17),
            invented_result("item kNN, central", "ceiling", 0.2),
        ]
    config = {"epsilon": 8.0, "epsilons": (1.0,), "recency": 20.0, "discount": 0.1} | (config or {})
    return invented_record(results, config=config, privacy=privacy or invented_privacy(), **changes)


def invented_space(items=120, dim=8, groups=4, seed=0):
    """A subspace model in which item r belongs to group r % groups."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((groups, dim))
    basis = centres[np.arange(items) % groups] + 0.2 * random.standard_normal((items, dim))
    arrays = {"basis": basis, "strength": np.ones(dim), "listeners": np.arange(items, 0, -1)}
    return Shared("subspace", "v", 2, {name: np.asarray(array, np.float32) for name, array in arrays.items()})


def invented_catalogue(items=120, titles=None, tags=True, groups=4):
    return Catalogue.create(
        (str(row) for row in range(items)),
        titles=titles or [f"Song {row}" for row in range(items)],
        artists=[f"Band {row % 7}" for row in range(items)],
        tags=[(f"tag {row % groups}",) if tags else () for row in range(items)],
        kind="track",
    )


@pytest.fixture(scope="session")
def make_result():
    return invented_result


@pytest.fixture(scope="session")
def make_round():
    return invented_round


@pytest.fixture(scope="session")
def make_record():
    return invented_record


@pytest.fixture(scope="session")
def make_privacy():
    return invented_privacy


@pytest.fixture(scope="session")
def make_private_record():
    return private_record


@pytest.fixture(scope="session")
def make_space():
    return invented_space


@pytest.fixture(scope="session")
def make_catalogue():
    return invented_catalogue
