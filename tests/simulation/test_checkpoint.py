"""A run that was stopped goes on to the same bit, or says in one sentence why it cannot."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading

import numpy as np
import pytest

from fedpersona.errors import ConfigError, DataError, DataNotFound, OutputError
from fedpersona.simulation import Callback, RunConfig, Split, read_record, simulate, write_run
from fedpersona.simulation.checkpoint import last_round, read_checkpoint, write_checkpoint
from fedpersona.simulation.keeping import Interrupted, Keeping
from fedpersona.simulation.narration import Silence
from tests.conftest import hold_out, invent

ADAM = {"dim": 4, "rounds": 6, "server": "adam", "server_lr": 0.05}
AWAY = {"dropout": 0.3, "available": 0.8}
RUNS = {
    "fedmf": {"model": "fedmf", "settings": ADAM, "cohort": 15},
    "fedmf, device by device": {"model": "fedmf", "settings": ADAM, "cohort": 15, "engine": "device"},
    "pfedrec, devices that leave": {"model": "pfedrec", "settings": {"dim": 4, "rounds": 5}, "behaviour": AWAY},
    "fedrecon, yogi": {"model": "fedrecon", "settings": {**ADAM, "server": "yogi"}, "cohort": 20},
    "subspace": {"model": "subspace", "settings": {"dim": 3, "rounds": 5}},
    "ials, devices that leave": {"model": "ials", "settings": {"dim": 3, "rounds": 5}, "behaviour": AWAY},
    "subspace, masked": {"model": "subspace", "settings": {"dim": 3, "rounds": 4}, "secure": True, "cohort": 12},
    "fedmf, for many": {"model": "fedmf", "settings": ADAM, "cohort": 20, "replicate": 2},
}


def configured(**changes):
    masks = {"neighbours": 6, "threshold": 4} if changes.get("secure") else {}
    return RunConfig(**{"dataset": "invented", "ceiling": False, "evaluate_every": 2, **masks, **changes})


def untimed(record):
    """All of a record but times, and the checkout that it ran from."""
    whole = record.model_dump(exclude={"started", "seconds", "resumed", "git_revision"})
    for row in (*whole["rounds"], *whole["results"]):
        for name in ("seconds", "seconds_collecting", "seconds_applying"):
            row.pop(name, None)
    return whole


class Killed(BaseException):
    """Ends a run without a word, as a power cut does."""


class KillAfter(Callback):
    """Ends a run inside a round, so that nothing of the round is kept."""

    def __init__(self, number):
        self.number = number

    def after_round(self, report, figures):
        if report.round_number == self.number:
            raise Killed


class StopAfter(KillAfter):
    """Presses Ctrl-C while a round is counted."""

    def after_round(self, report, figures):
        if report.round_number == self.number:
            os.kill(os.getpid(), signal.SIGINT)


def begun(folder, config, split, *, killed=4, seconds=0.0):
    with pytest.raises(Killed):
        simulate(config, split=split, callbacks=[KillAfter(killed)], keeping=Keeping(folder, seconds))


def gone_on(folder, split, narrator=None, config=None, **more):
    checkpoint = read_checkpoint(folder)
    return simulate(config or checkpoint.config, narrator, split, keeping=Keeping(folder, 0.0, checkpoint), **more)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_was_killed_ends_as_if_it_never_was(name, tmp_path):
    config, split = configured(**RUNS[name]), hold_out(invent())
    whole = simulate(config, split=split)
    folder = tmp_path / "run"
    begun(folder, config, split, killed=4)
    assert last_round(folder) == 3
    done = gone_on(folder, split)
    assert untimed(done.record) == untimed(whole.record)
    assert done.record.resumed == [3]
    for metric, values in whole.evaluation.per_person.items():
        assert np.array_equal(done.evaluation.per_person[metric], values)


def test_a_run_may_be_killed_again_and_again(tmp_path):
    config, split = configured(**RUNS["fedmf"]), hold_out(invent())
    folder = tmp_path / "run"
    begun(folder, config, split, killed=2)
    for number in (3, 5):
        with pytest.raises(Killed):
            gone_on(folder, split, callbacks=[KillAfter(number)])
    done = gone_on(folder, split)
    assert done.record.resumed == [1, 2, 4]
    assert untimed(done.record) == untimed(simulate(config, split=split).record)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals are for the main thread")
def test_ctrl_c_finishes_the_round_and_leaves_its_checkpoint(tmp_path):
    config, split = configured(**RUNS["fedmf"]), hold_out(invent())
    notes = Notes()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stopped:
        simulate(config, notes, split, callbacks=[StopAfter(3)], keeping=Keeping(tmp_path / "run", 3600.0))
    assert stopped.value.round_number == last_round(tmp_path / "run") == 3
    assert signal.getsignal(signal.SIGINT) is before
    assert any("this round is finished first" in note for note in notes.notes)
    assert untimed(gone_on(tmp_path / "run", split).record) == untimed(simulate(config, split=split).record)


def test_a_second_ctrl_c_leaves_at_once_with_the_last_checkpoint(tmp_path):
    class StopTwice(StopAfter):
        def after_round(self, report, figures):
            super().after_round(report, figures)
            super().after_round(report, figures)

    config, split = configured(**RUNS["fedmf"]), hold_out(invent())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        simulate(config, split=split, callbacks=[StopTwice(3)], keeping=Keeping(tmp_path / "run", 0.0))
    assert not isinstance(stopped.value, Interrupted)
    assert last_round(tmp_path / "run") == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert untimed(gone_on(tmp_path / "run", split).record) == untimed(simulate(config, split=split).record)


def test_a_run_that_was_stopped_after_its_last_round_is_measured(tmp_path):
    config, split = configured(**RUNS["subspace"]), hold_out(invent())
    with pytest.raises(Interrupted):
        simulate(config, split=split, callbacks=[StopAfter(5)], keeping=Keeping(tmp_path / "run"))
    assert untimed(gone_on(tmp_path / "run", split).record) == untimed(simulate(config, split=split).record)


class Notes(Silence):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_short_run_leaves_nothing_on_the_way(tmp_path):
    keeping = Keeping(tmp_path / "run")
    simulate(configured(**RUNS["subspace"]), split=hold_out(invent()), keeping=keeping)
    assert not keeping.claimed
    assert not list(tmp_path.iterdir())


def test_a_finished_run_has_taken_the_place_of_its_checkpoint(tmp_path):
    split, folder = hold_out(invent()), tmp_path / "run"
    begun(folder, configured(**RUNS["fedmf"]), split)
    checkpoint = read_checkpoint(folder)
    keeping = Keeping(folder, 0.0, checkpoint)
    run = simulate(checkpoint.config, split=split, keeping=keeping)
    write_run(run, folder, report=False, keeping=keeping)
    assert {path.name for path in folder.iterdir()} == {"run.json", "per_person.npz", "model.safetensors"}
    assert read_record(folder) == run.record
    with pytest.raises(DataNotFound, match="finished"):
        read_checkpoint(folder)


def test_another_runs_folder_is_not_taken(tmp_path):
    split = hold_out(invent())
    begun(tmp_path / "run", configured(**RUNS["fedmf"]), split)
    with pytest.raises(OutputError, match="another run writes there"):
        simulate(configured(**RUNS["subspace"]), split=split, keeping=Keeping(tmp_path / "run", 0.0))
    other = simulate(configured(**RUNS["subspace"]), split=split)
    with pytest.raises(OutputError):
        write_run(other, tmp_path / "run", report=False)
    assert last_round(tmp_path / "run") == 3


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_two_processes_do_not_go_on_with_one_run(tmp_path):
    split = hold_out(invent())
    begun(tmp_path / "run", configured(**RUNS["fedmf"]), split)

    class GoOnToo(Callback):
        def start(self, config, done):
            gone_on(tmp_path / "run", split)

    with pytest.raises(OutputError, match="another process is at work"):
        gone_on(tmp_path / "run", split, callbacks=[GoOnToo()])


def test_what_a_killed_process_left_half_written_is_passed_over(tmp_path):
    config, split, folder = configured(**RUNS["fedmf"]), hold_out(invent()), tmp_path / "run"
    begun(folder, config, split)
    half = folder / "checkpoint/.round-000004.partial"
    half.mkdir()
    (half / "state.json").write_text("{")
    (folder / "checkpoint/models/.000004.safetensors.partial").write_text("")
    assert untimed(gone_on(folder, split).record) == untimed(simulate(config, split=split).record)


def test_a_checkpoint_that_cannot_be_written_keeps_the_last_and_the_run(tmp_path, monkeypatch):
    from fedpersona.simulation import checkpoint

    config, split = configured(**RUNS["fedmf"]), hold_out(invent())
    whole, written = checkpoint.sync, []

    def full(path):
        if "000003" in str(path):
            raise OSError(28, "No space left on device")
        written.append(path)
        whole(path)

    monkeypatch.setattr(checkpoint, "sync", full)
    notes = Notes()
    with pytest.raises(Killed):
        simulate(config, notes, split, callbacks=[KillAfter(4)], keeping=Keeping(tmp_path / "run", 0.0))
    assert written
    assert any("No space left on device" in note for note in notes.notes)
    assert last_round(tmp_path / "run") == 2


def test_data_that_have_changed_are_refused(tmp_path):
    split = hold_out(invent())
    begun(tmp_path / "run", configured(**RUNS["fedmf"]), split)
    for other in (hold_out(invent(seed=5)), Split(split.train, split.test, split.val, complete=split.complete)):
        with pytest.raises(DataError, match="not those that this run began with"):
            gone_on(tmp_path / "run", other)


def test_no_checkpoint_where_none_was_left(tmp_path):
    with pytest.raises(DataNotFound, match="no checkpoint is here"):
        read_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize(
    "file", ["state.json", "shared.safetensors", "private.npy", "../models/000002.safetensors", "../models"]
)
def test_a_damaged_checkpoint_is_refused(tmp_path, file):
    begun(tmp_path / "run", configured(**RUNS["fedmf"]), hold_out(invent()))
    place = tmp_path / "run/checkpoint/round-000003" / file
    if place.is_dir():
        place.rename(place.with_name("elsewhere"))
        damages = [lambda: None]
    else:
        whole = place.read_bytes()
        damages = [
            lambda: place.write_bytes(whole[:-3]),
            lambda: place.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:]),
            place.unlink,
        ]
    for damage in damages:
        damage()
        with pytest.raises(DataError, match="damaged"):
            read_checkpoint(tmp_path / "run")


def test_a_checkpoint_of_another_versions_format_is_refused(tmp_path):
    begun(tmp_path / "run", configured(**RUNS["fedmf"]), hold_out(invent()))
    file = tmp_path / "run/checkpoint/round-000003/state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": "fedpersona checkpoint 9", "more": 1}))
    with pytest.raises(DataError, match="another version of fedpersona"):
        read_checkpoint(tmp_path / "run")


def test_other_versions_of_packages_are_said(tmp_path):
    split, folder = hold_out(invent()), tmp_path / "run"
    begun(folder, configured(**RUNS["subspace"]), split)
    file = folder / "checkpoint/round-000003/state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "versions": {**state["versions"], "numpy": "1.0"}}))
    notes = Notes()
    gone_on(folder, split, notes)
    assert any("numpy" in note for note in notes.notes)


def test_a_run_with_an_epsilon_keeps_none(tmp_path):
    """Noise is drawn anew: a round that is run again would be one release more than was promised."""
    with pytest.raises(ConfigError, match="more than was promised"):
        simulate(configured(model="ease", epsilon=8.0), split=hold_out(invent()), keeping=Keeping(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_what_devices_keep_is_in_no_file_of_a_model_that_remembers_nothing(tmp_path):
    begun(tmp_path / "run", configured(**RUNS["fedrecon, yogi"]), hold_out(invent()))
    names = {path.name for path in (tmp_path / "run/checkpoint/round-000003").iterdir()}
    assert names == {"state.json", "shared.safetensors"}


def test_nothing_is_kept_before_the_first_round(tmp_path):
    begun(tmp_path / "run", configured(**RUNS["subspace"]), hold_out(invent()))
    checkpoint = read_checkpoint(tmp_path / "run")
    checkpoint.so_far.shared = None
    with pytest.raises(ValueError, match="nothing to keep"):
        write_checkpoint(tmp_path / "other", checkpoint, None)


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def goes_on_to_the_same(tmp_path, split, config, notes):
    with pytest.raises(Killed):
        simulate(config, notes, split, callbacks=[KillAfter(4)], keeping=Keeping(tmp_path / "run", 0.0))
    assert any(note.endswith("the training goes on without it") for note in notes.notes)
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_a_disk_that_is_full_for_a_model_keeps_the_run(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(arrays, file):
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("fedpersona.simulation.checkpoint.save_file", full)
    notes = Notes()
    goes_on_to_the_same(tmp_path, hold_out(invent()), configured(**RUNS["fedmf"]), notes)
    assert any("No space left on device" in note for note in notes.notes)
    assert last_round(tmp_path / "run") is None


def test_a_disk_that_is_full_for_the_folder_keeps_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Keeping, "_lock_folder", lambda keeping: None)
    monkeypatch.setattr("fedpersona.simulation.keeping.Path.mkdir", full_disk)
    goes_on_to_the_same(tmp_path, hold_out(invent()), configured(**RUNS["fedmf"]), Notes())


def test_a_model_that_a_killed_process_left_of_later_rounds_is_written_anew(tmp_path):
    config, split, folder = configured(**RUNS["fedmf"]), hold_out(invent()), tmp_path / "run"
    begun(folder, config, split)
    models = folder / "checkpoint/models"
    stale = (models / "000002.safetensors").read_bytes()
    (models / "000004.safetensors").write_bytes(stale)
    with pytest.raises(Killed):
        gone_on(folder, split, callbacks=[KillAfter(6)])
    assert (models / "000004.safetensors").read_bytes() != stale
    assert untimed(gone_on(folder, split).record) == untimed(simulate(config, split=split).record)


@pytest.mark.parametrize("now", ["no compiled kernel", "the compiled kernel of version 0"])
def test_another_kernel_is_refused_for_what_it_trains_alone(tmp_path, monkeypatch, now):
    split = hold_out(invent())
    for name in ("fedmf", "subspace"):
        begun(tmp_path / name, configured(**RUNS[name]), split)
    monkeypatch.setattr("fedpersona.simulation.experiment.compiled_kernel", lambda: now)
    began = read_checkpoint(tmp_path / "fedmf").kernel
    with pytest.raises(DataError, match=rf"began with {began}, and here is {now}.* or begin the run anew"):
        gone_on(tmp_path / "fedmf", split)
    assert read_checkpoint(tmp_path / "subspace").kernel is None
    gone_on(tmp_path / "subspace", split)


def test_a_module_of_ones_own_that_has_changed_is_refused(tmp_path):
    pytest.importorskip("torch")
    from fedpersona.simulation.neural import loading
    from tests.simulation.neural.test_loading import BEGINNING, GOOD

    file, split = tmp_path / "mine.py", hold_out(invent())
    file.write_text(BEGINNING + GOOD)
    begun(tmp_path / "run", configured(model=f"torch:{file}", settings={"rounds": 5}), split)
    file.write_text(BEGINNING + GOOD.replace("torch.ones(dim)", "torch.zeros(dim)"))
    loading._kind.cache_clear()  # as another process would
    with pytest.raises(DataError, match="not the one that this run began with"):
        gone_on(tmp_path / "run", split)
    file.write_text(BEGINNING + GOOD)
    loading._kind.cache_clear()
    assert gone_on(tmp_path / "run", split).record.resumed == [3]


def other_model(state):
    state["config"].update(model="pfedrec")


def other_size(state):
    state["config"]["settings"].update(dim=8)


def fewer_rounds(state):
    state["config"]["settings"].update(rounds=2)


def nothing_kept(state):
    state.update(private=None)


def words_for_numbers(state):
    state["reports"][0].update(seconds_collecting="long")


def no_report(state):
    state["reports"][0] = {"more": 1}


def another_round(state):
    state["models"]["1"] = state["models"].pop("2")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (other_model, "it is of the model fedmf, the run is of pfedrec"),
        (other_size, "the arrays of its model are not of the shapes that the settings of fedmf give"),
        (fewer_rounds, "it has 3 rounds, the run plans 2"),
        (nothing_kept, "what devices keep is missing"),
        (words_for_numbers, "damaged"),
        (no_report, "damaged"),
        (another_round, "damaged"),
    ],
)
def test_a_state_that_does_not_fit_its_run_is_one_sentence(tmp_path, change, complaint):
    split, folder = hold_out(invent()), tmp_path / "run"
    begun(folder, configured(**RUNS["fedmf"]), split)
    file = folder / "checkpoint/round-000003/state.json"
    state = json.loads(file.read_text())
    change(state)
    file.write_text(json.dumps(state))
    with pytest.raises(DataError, match=complaint) as told:
        gone_on(folder, split)
    assert "\n" not in str(told.value)
