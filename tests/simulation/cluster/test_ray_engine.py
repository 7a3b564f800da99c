"""A real cluster of two workers on this machine: the same sums to the bit as one process, whatever happens to it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from fedpersona.aggregation import Coordinator
from fedpersona.errors import ConfigError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.cluster import RayEngine
from fedpersona.simulation.cluster.session import Session
from fedpersona.simulation.cluster.shard import ModelFacts, cut, pack, run_shard, unpack
from fedpersona.simulation.datasets import columnar
from fedpersona.simulation.engine import silent
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.taste import create
from fedpersona.taste.counters import round_layout
from fedpersona.wire.layout import ArraySpec, Layout
from tests.conftest import hold_out, invent

FLAKY = Behaviour(dropout=0.2, available=0.9, daily_swing=0.3)
SEED = 5


@pytest.fixture(scope="module")
def cluster():
    before = signal.getsignal(signal.SIGTERM)
    with Session(None, workers=2, store_bytes=0) as session:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert signal.getsignal(signal.SIGTERM) is before
        folder = Path(session.ray._private.worker._global_node.get_temp_dir_path())
        assert folder.is_dir()
        yield session
    assert not session.ray.is_initialized()
    assert not folder.exists()
    gc.collect()


def learn(model, population, engine, privates, *, cohort=None, behaviour=FLAKY):
    coordinator = Coordinator(
        model, population.catalogue, engine, cohort=cohort or len(population), min_count=1, seed=SEED
    )
    answered = [report.answered for report in coordinator.run()]
    return coordinator.shared.hash(), answered, None if privates is None else privates.rows.tobytes()


def alone(model, population, **settings):
    privates = table(model, population)
    engine = make_engine("cohort", model, population, FLAKY, workers=1, progress=silent, privates=privates)
    return learn(model, population, engine, privates, **settings)


def spread(model, population, *, shards, progress=silent, **settings):
    privates = table(model, population)
    engine = RayEngine(model, population, FLAKY, progress, privates=privates, shards=shards)
    return learn(model, population, engine, privates, **settings)


def table(model, population):
    return PrivateTable.begin(model, SEED, len(population)) if model.name == "fedmf" else None


@pytest.mark.parametrize(
    ("name", "settings"), [("subspace", {"dim": 6, "rounds": 2}), ("fedmf", {"dim": 4, "rounds": 3, "lr": 0.5})]
)
def test_any_number_of_shards_gives_the_model_of_one_machine_to_the_bit(cluster, name, settings):
    population, model = invent(people=90), create(name, settings)
    expected = alone(model, population, cohort=60)
    for shards in (1, 2, 5):
        assert spread(model, population, shards=shards, cohort=60) == expected


def test_a_worker_that_is_killed_in_the_middle_of_a_round_changes_no_bit(cluster):
    population, model = invent(people=90), create("fedmf", {"dim": 4, "rounds": 2})
    expected = alone(model, population)
    spread(model, population, shards=2)  # the workers are there now
    workers = [
        p for p in psutil.Process().children(recursive=True) if p.cmdline()[:1] in (["ray::IDLE"], ["ray::run_shard"])
    ]
    assert workers
    for worker in workers:
        worker.suspend()  # whoever gets a shard now is in the middle of it
    heard, heard_before = [], []

    def kill():
        heard_before.append(len(heard))
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    killing = threading.Timer(0.5, kill)
    killing.start()
    try:
        assert spread(model, population, shards=5, progress=lambda done, total: heard.append(done)) == expected
    finally:
        killing.cancel()
        kill()
    assert heard_before[0] < 5 <= len(heard)  # shards were with them when they died


def test_an_interrupted_round_leaves_what_devices_keep_as_it_was(cluster):
    population, model = invent(people=40), create("fedmf", {"dim": 4, "rounds": 1})
    privates = table(model, population)
    before = privates.rows.copy()

    def interrupt(done, total):
        raise KeyboardInterrupt

    engine = RayEngine(model, population, Behaviour(), interrupt, privates=privates, shards=3)
    with pytest.raises(KeyboardInterrupt):
        learn(model, population, engine, privates)
    assert np.array_equal(privates.rows, before)
    engine.progress = silent
    assert learn(model, population, engine, privates)[1] == [40]
    assert not np.array_equal(privates.rows, before)


def test_shards_of_which_nobody_answers_are_not_run(cluster):
    population, heard = invent(people=40), []
    spread(
        create("popularity"), population, shards=4, cohort=1, progress=lambda done, total: heard.append((done, total))
    )
    assert heard == [(1, 1)]


def test_workers_open_a_population_in_a_folder_by_its_path(cluster, tmp_path):
    split = hold_out(invent(people=50))
    columnar.write_split(split, tmp_path / "people")
    mapped, model = columnar.read(tmp_path / "people").train, create("subspace", {"dim": 5})
    assert spread(model, mapped, shards=3) == alone(model, split.train)


def test_a_folder_that_became_another_population_is_refused(cluster, tmp_path):
    columnar.write_split(hold_out(invent(people=20)), tmp_path / "people")
    mapped, model = columnar.read(tmp_path / "people").train, create("popularity")
    engine = RayEngine(model, mapped, Behaviour(), shards=2)
    (tmp_path / "people").rename(tmp_path / "old")
    columnar.write_split(hold_out(invent(people=20, seed=9)), tmp_path / "people")
    with pytest.raises(ConfigError, match="another population"):
        learn(model, mapped, engine, None)


def test_what_the_fast_engine_cannot_do_is_refused_in_its_own_words(cluster):
    population, model = invent(people=20), create("popularity")
    engine = RayEngine(model, population, Behaviour(), shards=2)
    coordinator = Coordinator(model, population.catalogue, engine, cohort=20, min_count=1, seed=1, metrics=True)
    with pytest.raises(ConfigError, match="does not test models on devices"):
        coordinator.run_round()


def test_a_worker_without_the_compiled_kernel_does_not_stand_in_for_one_that_has_it():
    population, model = invent(people=8), create("popularity")
    facts = replace(ModelFacts.of(model), compiled=not ModelFacts.of(model).compiled)
    coordinator = Coordinator(model, population.catalogue, None, cohort=8, min_count=1, seed=1)
    plan = coordinator.plan(1)
    fixed_point = FixedPoint.for_plan(plan, round_layout(model, population.catalogue, plan))
    answer = run_shard(facts, population, plan, coordinator.shared, fixed_point, np.arange(8), 0, None)
    assert "do not both have the compiled kernel" in answer.why


def test_an_address_at_which_nobody_listens_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    started = time.monotonic()
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ConfigError, match=rf"no Ray cluster answers at '{address}'.*is it running"):
            RayEngine(create("popularity"), invent(people=8), Behaviour(), address=address)
    assert time.monotonic() - started < 60  # Ray itself would wait for minutes


@pytest.mark.parametrize("address", ["nonsense", "host:", ":80", "host:99999", "ray://host"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="auto, host:port or ray://host:port"):
        RayEngine(create("popularity"), invent(people=8), Behaviour(), address=address)


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpersona\[simulation\]'"):
        RayEngine(create("popularity"), invent(people=8), Behaviour())


def test_no_shard_is_not_a_number_of_shards():
    with pytest.raises(ConfigError, match="one shard or more"):
        RayEngine(create("popularity"), invent(people=8), Behaviour(), shards=0)


@pytest.mark.parametrize("name", ["cohort", "device"])
def test_a_cluster_is_for_the_engine_ray(name):
    with pytest.raises(ConfigError, match="for the engine 'ray'"):
        make_engine(name, create("popularity"), invent(people=8), FLAKY, workers=1, progress=silent, shards=2)


@pytest.mark.parametrize("shards", [1, 2, 7, 60, 500])
def test_everybody_is_in_one_shard_and_no_shard_is_empty(shards):
    population = invent()
    bounds = cut(population, shards)
    assert len(bounds) <= shards
    assert [begin for begin, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == len(population)
    assert all(begin < end for begin, end in bounds)


@pytest.mark.parametrize("ring_bits", [32, 64])
@pytest.mark.parametrize("touched", [0, 1, 9, 10])
def test_a_packed_sum_is_the_same_sum(ring_bits, touched):
    layout = Layout((ArraySpec("table", (10, 3), bound=1.0), ArraySpec("flat", (10,), bound=1.0)))
    fixed_point = FixedPoint(layout, 4, ring_bits)
    largest = 2 ** (ring_bits - 1) - 1
    total = fixed_point.zeros()
    total["table"][:touched] = -largest
    total["flat"][:touched] = largest
    packed = pack(total, fixed_point)
    assert packed["table"].values.nbytes <= 10 * 3 * ring_bits // 8
    assert (packed["table"].places is not None) == (touched < 5)
    again = fixed_point.zeros()
    unpack(packed, again)
    unpack(packed, again)
    for name, array in total.items():
        assert np.array_equal(again[name], 2 * array)
