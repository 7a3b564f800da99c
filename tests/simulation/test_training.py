"""What goes along with the rounds of a run costs them nothing, and changes none of their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from fedpersona.errors import ConfigError
from fedpersona.simulation import Callback, RunConfig, simulate
from fedpersona.simulation import training as module
from fedpersona.simulation.experiment import create_model
from fedpersona.simulation.narration import Silence
from fedpersona.simulation.training import train
from fedpersona.taste.gradient import FedMF
from tests.conftest import hold_out, invent


def configured(**changes):
    return RunConfig(**{"dataset": "invented", "model": "fedmf", "ceiling": False, "cohort": 10, **changes})


class Told(Silence):
    def __init__(self):
        self.notes, self.told = [], []

    def note(self, text):
        self.notes.append(text)

    def rounds(self, text, done, total, devices, figure=None):
        self.told.append((done, total, devices, figure))


def test_of_hundreds_of_rounds_a_few_models_are_kept_and_the_last_is_among_them():
    training = train(FedMF(dim=2, rounds=60), invent(), configured(), Silence(), watched=np.arange(5))
    assert len(training.reports) == 60
    assert len(training.models) == len(training.kept) == 20
    assert max(training.models) == 60
    assert training.kept[60].shape == (5, 2)


def test_of_large_models_fewer_are_kept(monkeypatch):
    model = FedMF(dim=2, rounds=60)
    size = train(model, invent(), configured(), Silence(), watched=np.arange(5)).shared.nbytes
    monkeypatch.setattr(module, "_CURVE_BYTES", 6 * size)
    training = train(model, invent(), configured(), Silence(), watched=np.arange(5))
    assert 2 <= len(training.models) <= 6
    assert max(training.models) == 60


def test_each_round_is_told_once_with_its_devices():
    told = Told()
    train(FedMF(dim=2, rounds=30), invent(), configured(), told)
    assert told.told == [(0, 30, 0, None), *((number, 30, 10, None) for number in range(1, 31))]
    assert not told.notes


def test_devices_that_do_not_answer_are_told_round_by_round_or_all_together():
    few, many = Told(), Told()
    leaving = {"behaviour": {"dropout": 0.5}}
    train(FedMF(dim=2, rounds=5), invent(), configured(cohort=20, **leaving), few)
    assert few.notes[0].startswith("round 1: ")
    assert len(few.notes) == 5
    train(FedMF(dim=2, rounds=40), invent(), configured(cohort=20, **leaving), many)
    assert len(many.notes) == 1
    assert "in 40 rounds not all of 20 devices answered" in many.notes[0]


class Figures(Callback):
    def __init__(self):
        self.rounds = {}

    def after_round(self, report, figures):
        self.rounds[report.round_number] = figures.get("val_ndcg@10")


def test_validation_figures_on_the_way_are_told_and_kept_and_choose_nothing():
    config = configured(settings={"dim": 3, "rounds": 7})
    told, figures = Told(), Figures()
    split = hold_out(invent())
    watched = simulate(config.model_copy(update={"evaluate_every": 3}), told, split, callbacks=[figures]).record
    plain = simulate(config, split=split).record
    measured = {r.round_number: r.val_ndcg_meanwhile for r in watched.rounds if r.val_ndcg_meanwhile is not None}
    assert set(measured) == {3, 6}
    assert {number: value for number, value in figures.rounds.items() if value is not None} == measured
    assert {done: figure for done, _, _, figure in told.told if figure is not None} == measured
    assert watched.model_hash == plain.model_hash
    assert watched.federated.test == plain.federated.test


def test_a_figure_on_the_way_is_the_curves_where_nothing_is_chosen():
    config = configured(settings={"dim": 3, "rounds": 4}, recency="off", discount=0.0, evaluate_every=2)
    rounds = simulate(config, split=hold_out(invent())).record.rounds
    for number in (2, 4):
        assert rounds[number - 1].val_ndcg_meanwhile == pytest.approx(rounds[number - 1].val_ndcg)


@pytest.mark.parametrize("model", ["fedmf", "fedrecon", "pfedrec"])
def test_devices_that_mask_train_no_model_whose_bits_they_would_change(model):
    with pytest.raises(ConfigError, match="Leave --secure out"):
        create_model(configured(model=model, secure=True))


def test_a_record_says_what_brought_in_the_sums():
    split = hold_out(invent())
    settings = {"dim": 2, "rounds": 1}
    one = simulate(configured(settings=settings, engine="device"), split=split).record
    assert "one device after another" in one.collected
    other = simulate(configured(model="subspace", settings=settings, cohort=None, replicate=3), split=split).record
    assert "sparse products" in other.collected
    masks = {"secure": True, "neighbours": 6, "threshold": 4}
    masked = simulate(configured(model="popularity", **masks), split=split).record
    assert "secure aggregation" in masked.collected


def test_a_run_says_where_the_compiled_form_is_missing(monkeypatch):
    from fedpersona.simulation import factor_engine

    monkeypatch.setattr(factor_engine, "library", lambda: None)
    monkeypatch.setattr(factor_engine, "absence", lambda: "it was not built")
    told = Told()
    training = train(FedMF(dim=2, rounds=1), invent(), configured(), told)
    assert told.notes == ["slow: the reference, one device after another: it was not built"]
    assert training.collected == told.notes[0].removeprefix("slow: ")
    asked = Told()
    train(FedMF(dim=2, rounds=1), invent(), configured(engine="device"), asked)
    assert not asked.notes


def test_copies_of_a_person_train_apart_and_the_first_is_measured():
    """Under ``replicate`` device ``p`` is the first copy of person ``p``: its row is the one that is kept."""
    people = invent()
    config = configured(replicate=3, cohort=None)
    model = FedMF(dim=2, rounds=2)
    copied = train(model, people, config, Silence(), watched=np.arange(len(people)))
    alone = train(model, people.repeated(3), config.model_copy(update={"replicate": 1}), Silence())
    assert np.array_equal(copied.kept[2], alone.kept[2][: len(people)])
    assert not np.array_equal(alone.kept[2][: len(people)], alone.kept[2][len(people) : 2 * len(people)])
    assert copied.shared.hash() == alone.shared.hash()
