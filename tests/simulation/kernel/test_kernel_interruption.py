"""Ctrl-C while threads of the compiled kernel are at work: none runs on, and none works on freed memory."""

from __future__ import annotations

import gc
import signal
import threading
import time
import weakref

import numpy as np
import pytest

from fedpersona.simulation.kernel import Histories, Summing, Trainer
from fedpersona.simulation.kernel.job import FINE, STOPPED
from fedpersona.taste.gradient.descent import Recipe
from tests.simulation.kernel.conftest import devices

RECIPE = Recipe("bce", "together", 1, 64, 4, 1.0, 1.0)
THOSE = devices([5, 9, 12])


class Kernel:
    """In place of the compiled one: a helper is at work until its job is told to stop, and then a little longer."""

    def __init__(self, *, begun=lambda: None, patience=10.0):
        self.begun, self.patience = begun, patience
        self.jobs, self.working, self.started = [], 0, threading.Event()

    def kernel_run(self, reference, memory, most, variant):
        job = reference._obj
        self.jobs.append(job)
        if threading.current_thread() is threading.main_thread():
            assert self.started.wait(10)
            return 0
        self.working += 1
        self.started.set()
        self.begun()
        end = time.monotonic() + self.patience
        while job.status == FINE and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        self.working -= 1
        return 0


class Pool:
    """Threads whose submit, or whose futures' result, is interrupted the first time."""

    def __init__(self, pool, kernel, *, at):
        self.pool, self.kernel, self.at = pool, kernel, at

    def submit(self, *work):
        future = self.pool.submit(*work)
        if self.at == "submit":
            assert self.kernel.started.wait(10)  # it is at work, and nobody hears of it
            raise KeyboardInterrupt
        wait = future.result

        def interrupted():
            future.result = wait
            raise KeyboardInterrupt

        future.result = interrupted
        return future


def interrupted(kernel, stand_in, at=None):
    """Train until Ctrl-C with a stand-in for the kernel; return the trainer."""
    trainer = Trainer(kernel, *THOSE.items.shape, workers=2)
    trainer._functions = stand_in
    if at is not None:
        trainer._pool = Pool(trainer._pool, stand_in, at=at)
    with pytest.raises(KeyboardInterrupt):
        THOSE.train(trainer, RECIPE)
    return trainer


@pytest.mark.parametrize("at", ["submit", "result"])
def test_no_helper_runs_on_after_an_interruption_wherever_it_comes(kernel, at):
    stand_in = Kernel()
    interrupted(kernel, stand_in, at)
    assert stand_in.started.is_set()
    assert stand_in.working == 0
    assert {job.status for job in stand_in.jobs} == {STOPPED}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals reach no thread by name here")
@pytest.mark.parametrize("presses", [1, 3])
def test_no_helper_runs_on_after_ctrl_c_while_the_caller_waits(kernel, presses):
    def press():
        for _ in range(presses):
            time.sleep(0.02)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stand_in = Kernel(begun=press)
        interrupted(kernel, stand_in)
        assert stand_in.working == 0
        assert {job.status for job in stand_in.jobs} == {STOPPED}
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_trainer_that_was_interrupted_trains_as_if_nothing_had_been(kernel):
    trainer = interrupted(kernel, Kernel(), "result")
    trainer._functions, trainer._pool = kernel.functions, trainer._pool.pool
    rows, _ = THOSE.train(trainer, RECIPE)
    undisturbed, _ = THOSE.train(Trainer(kernel, *THOSE.items.shape), RECIPE)
    assert rows.tobytes() == undisturbed.tobytes()


def test_whoever_has_a_job_keeps_all_its_arrays(kernel):
    """A thread that could not be waited for never reads or writes what was freed."""
    stand_in = Kernel(patience=0.0)
    trainer = Trainer(kernel, *THOSE.items.shape, workers=2)
    trainer._functions = stand_in
    indptr, flat = THOSE.histories.indptr.copy(), THOSE.histories.items.copy()
    arrays = [
        THOSE.items.copy(),
        Histories(indptr, flat, np.arange(3), np.ones(len(flat), np.float32)),
        THOSE.keys.copy(),
        THOSE.privates[:, :-1].copy(),
    ]
    how = Summing(np.zeros(THOSE.items.shape, np.int32), 16.0, np.inf, 16.0, 16.0, 2.0**20, 1, False)
    moved = trainer.train(RECIPE, *arrays, summing=how, moved=True)
    parts = [arrays[0], indptr, flat, arrays[1].people, arrays[1].weights, *arrays[2:], how.total]
    alive = [weakref.ref(part) for part in [*parts, moved.first, moved.count, moved.items, moved.rows]]
    del arrays, how, moved, parts, indptr, flat, trainer
    gc.collect()
    assert all(part() is not None for part in alive)
    stand_in.jobs.clear()
    gc.collect()
    assert not any(part() is not None for part in alive)
