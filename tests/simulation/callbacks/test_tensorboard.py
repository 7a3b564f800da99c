"""Event files that TensorBoard itself reads."""

from __future__ import annotations

import pytest

from fedpersona.simulation import Callback
from fedpersona.simulation.callbacks import make_callback
from fedpersona.simulation.checkpoint import read_checkpoint
from fedpersona.simulation.keeping import Keeping

pytest.importorskip("tensorboard")


class StopAfter(Callback):
    def __init__(self, number):
        self.number = number

    def after_round(self, report, figures):
        if report.round_number == self.number:
            raise KeyboardInterrupt


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_reads_what_a_run_wrote(follow, tmp_path):
    run = follow(make_callback("tensorboard", tmp_path / "a"))
    events = read(tmp_path / "a.tensorboard")
    devices = events.Scalars("round/devices")
    assert [(event.step, event.value) for event in devices] == [(n, 60.0) for n in (1, 2, 3, 4)]
    measured = {event.step: event.value for event in events.Scalars("round/val_ndcg@10")}
    assert measured == pytest.approx({n: run.record.rounds[n - 1].val_ndcg_meanwhile for n in (2, 4)})
    (end,) = events.Scalars("end/test_ndcg@10")
    assert end.value == pytest.approx(run.record.federated.test["ndcg@10"])
    text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert 'model: "subspace"' in text
    assert "someone" not in text


def test_a_run_that_went_on_shows_no_round_twice(follow, tmp_path):
    folder, log = tmp_path / "a", f"tensorboard:{tmp_path / 'log'}"
    with pytest.raises(KeyboardInterrupt):
        follow(make_callback(log, folder), StopAfter(3), keeping=Keeping(folder, 0.0))
    follow(make_callback(log, folder), keeping=Keeping(folder, 0.0, read_checkpoint(folder)))
    assert [event.step for event in read(tmp_path / "log").Scalars("round/devices")] == [1, 2, 3, 4]
