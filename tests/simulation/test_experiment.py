"""A run's numbers follow from its configuration alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from fedpersona.errors import ConfigError
from fedpersona.simulation import RunConfig, Split, simulate
from tests.conftest import hold_out, invent

SCRIPT = """
from fedpersona.simulation import RunConfig, simulate
# The sizes at which BLAS would share work among threads, and round differently for it.
sizes = {"subspace": (4600, {"dim": 128}), "ease": (900, {}), "ials": (600, {"dim": 48, "rounds": 2})}
items, settings = sizes["MODEL"]
config = RunConfig(
    dataset="synthetic", people=400, items=items, model="MODEL", settings=settings, workers=WORKERS, ceiling=False
)
record = simulate(config).record
print(record.model_hash, [(r.name, r.test, r.intervals, r.serving) for r in record.results])
"""


def numbers(model, *, threads, hash_seed, workers):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(hash_seed)}
    code = SCRIPT.replace("MODEL", model).replace("WORKERS", str(workers))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


@pytest.mark.parametrize("model", ["subspace", "ease", "ials"])
def test_neither_blas_threads_nor_workers_nor_hash_seeds_change_a_bit(model):
    first = numbers(model, threads=1, hash_seed=1, workers=1)
    assert numbers(model, threads=2, hash_seed=2, workers=3) == first


def record(split=None, **changes):
    options = {"dataset": "invented", "model": "subspace", "settings": {"dim": 3, "rounds": 2}, "ceiling": False}
    return simulate(RunConfig(**{**options, **changes}), split=split or hold_out(invent())).record


def test_a_trainer_cannot_tell_which_items_are_held_out():
    """Other held-out items, the same training data: the same model, to the bit."""
    split = hold_out(invent())
    swapped = Split(split.train, split.test, split.val, complete=split.complete)
    assert record(split).model_hash == record(swapped).model_hash


@pytest.mark.parametrize("model", ["popularity", "subspace", "ease", "ials"])
def test_held_out_items_reach_neither_training_nor_queries_nor_floor_nor_ceilings(model):
    """With the whole histories out of reach, every figure of every model is the same."""
    split = hold_out(invent())
    alone = Split(split.train, split.val, split.test)
    options = {"model": model, "settings": {"dim": 3} if model in ("subspace", "ials") else {}, "ceiling": True}
    seen, unseen = record(split, **options), record(alone, **options)
    assert seen.model_hash == unseen.model_hash
    for one, other in zip(seen.results, unseen.results, strict=True):
        assert one.model_copy(update={"seconds": 0.0}) == other.model_copy(update={"seconds": 0.0})


def test_every_compared_model_has_its_own_serving_chosen():
    whole = record(ceiling=True)
    for result in whole.results:
        if result.role == "ceiling":
            assert result.serving.val_ndcg == pytest.approx(result.val["ndcg@10"])


def test_the_engine_changes_no_figure():
    one, other = record(engine="cohort"), record(engine="device")
    assert one.model_hash == other.model_hash
    assert one.federated.test == other.federated.test


def test_another_seed_gives_other_numbers():
    assert record(seed=0).model_hash != record(seed=1).model_hash


def test_bytes_are_those_of_all_rounds_and_of_the_model_in_the_end():
    figures = record().federated
    items, dim = 40, 3
    assert figures.rounds == 2
    assert figures.bytes_up == 2 * 4 * (items * dim + items + 1), "the counted device is one number more"
    assert figures.bytes_down == 3 * 4 * (items * dim + dim + items)


def test_the_curve_is_measured_at_no_more_than_twenty_five_rounds():
    rounds = record(settings={"dim": 3, "rounds": 60}).rounds
    assert len(rounds) == 60
    assert 20 <= sum(r.test_ndcg is not None for r in rounds) <= 25
    assert rounds[-1].test_ndcg is not None


def test_the_last_point_of_the_curve_is_the_figure_of_the_table():
    whole = record()
    assert whole.rounds[-1].test_ndcg == pytest.approx(whole.federated.test["ndcg@10"])
    assert whole.rounds[-1].val_ndcg == pytest.approx(whole.federated.serving.val_ndcg)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"recency": 4.0}, "no times"),
        ({"settings": {"discount": 0.1}}, "--discount"),
        ({"cohort": 61}, "61"),
        ({"cohort": 20, "min_count": 30}, "min_count"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        record(hold_out(invent(timed=False)), **changes)


def test_a_sum_is_released_over_a_tenth_of_the_cohort_at_least_by_default():
    from fedpersona.errors import CohortTooSmall

    with pytest.raises(CohortTooSmall, match="minimum is 6"):
        record(behaviour={"dropout": 0.97})
    assert np.isfinite(record(behaviour={"dropout": 0.5}).federated.test["ndcg@10"])
