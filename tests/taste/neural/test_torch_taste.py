"""A module on one device: what is shared, what is private, and that a step is the step of plain descent."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fedpersona.errors import ConfigError, LayoutMismatch
from fedpersona.plays import Plays
from fedpersona.taste import MODELS, create
from fedpersona.taste.gradient.model import as_private, as_row
from fedpersona.taste.model import Private
from tests.conftest import invent
from tests.taste.neural.brought import taste
from tests.taste.neural.modules import Attending, Bilinear, Recurrent

PEOPLE = invent(people=6, items=30)
CATALOGUE = PEOPLE.catalogue
EVERY = pytest.mark.parametrize("module", [Bilinear, Recurrent, Attending])


def beginning(model, device=0) -> Private:
    return as_private(model.begin(1, np.array([device]))[0], model.private_shapes())


def by_hand(module, shared, private, steps, *, lr) -> dict[str, np.ndarray]:
    """Train the module as it is, whole tables and all, by torch's own optimiser."""
    whole = module(len(CATALOGUE))
    arrays = {**shared.arrays, **private.arrays}
    with torch.no_grad():
        for name, value in whole.named_parameters():
            value.copy_(torch.tensor(arrays[name.replace(".", "/")]))
    optimiser = torch.optim.SGD(whole.parameters(), lr=lr)
    for ids, beside in steps:
        logits = whole(*(torch.from_numpy(one) for one in ids))
        weights = torch.from_numpy(beside[-1])
        if len(ids) == 1:
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, torch.from_numpy(beside[0]), reduction="none"
            )
        else:
            labels = torch.zeros_like(logits)
            labels[:, 0] = 1.0
            losses = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
        optimiser.zero_grad()
        (losses * weights).sum().backward()
        optimiser.step()
    return {name.replace(".", "/"): value.detach().numpy() for name, value in whole.named_parameters()}


@EVERY
def test_a_round_on_a_device_is_plain_descent_on_the_whole_module(module):
    model = taste(module, lr=0.3, epochs=2, batch=8)
    shared, private, plays = model.init(CATALOGUE, seed=4), beginning(model), PEOPLE.plays(1)
    after, update = model.train(shared, private, plays, key=9)
    wanted = by_hand(module, shared, private, model.steps(plays, 9, len(CATALOGUE)), lr=0.3)
    for name in shared.arrays:
        np.testing.assert_allclose(update[name], wanted[name] - shared[name], atol=2e-6)
        assert np.abs(update[name]).max() > 1e-5
    for name in private.arrays:
        np.testing.assert_allclose(after[name], wanted[name], atol=2e-6)
        assert np.abs(after[name] - private[name]).max() > 1e-5


@EVERY
def test_private_parameters_are_in_no_update_and_in_no_shared_model(module):
    model = taste(module)
    own = set(model.private_shapes())
    assert own == {name for name in ("person", "start") if hasattr(module(5), name)}
    assert not own & set(model.init(CATALOGUE, 1).arrays)
    assert not own & set(model.layout(CATALOGUE, 1).names)


@EVERY
def test_a_shared_model_is_the_same_for_a_seed_and_leaves_torchs_stream_alone(module):
    model = taste(module)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = model.init(CATALOGUE, 1), model.init(CATALOGUE, 1), model.init(CATALOGUE, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert first.hash() == again.hash() != other.hash()
    model.check(first, CATALOGUE)


def test_a_shared_model_out_of_range_is_refused():
    model = taste(Bilinear)
    shared = model.init(CATALOGUE, 1)
    shared.arrays["map/bias"][0] = 1e7
    with pytest.raises(LayoutMismatch, match="map/bias"):
        model.check(shared, CATALOGUE)


def test_prox_holds_shared_parameters_and_no_private_ones():
    free, held = taste(Bilinear, lr=0.3), taste(Bilinear, lr=0.3, prox=1e6)
    shared, plays = free.init(CATALOGUE, 1), PEOPLE.plays(0)
    moved, kept = free.train(shared, beginning(free), plays, 3), held.train(shared, beginning(held), plays, 3)
    for name in shared.arrays:
        assert np.abs(kept[1][name]).max() < 1e-4 * np.abs(moved[1][name]).max()
    assert np.abs(kept[0]["person"] - beginning(held)["person"]).max() > 1e-3


def test_an_update_is_no_longer_than_longest():
    model = taste(Bilinear, lr=1.0, longest=0.01)
    update = model.train(model.init(CATALOGUE, 1), beginning(model), PEOPLE.plays(0), 3)[1]
    assert sum(np.square(array).sum() for array in update.arrays.values()) ** 0.5 == pytest.approx(0.01)


def test_a_training_that_leaves_the_range_of_numbers_moves_nothing():
    class Cubed(Bilinear):
        def forward(self, items):
            return ((self.item(items) * self.person) ** 3).sum(-1) + self.offset(items).squeeze(-1)

    model = taste(Cubed, lr=1e6, epochs=4, batch=4)
    private = beginning(model)
    after, update = model.train(model.init(CATALOGUE, 1), private, PEOPLE.plays(0), 3)
    assert all((array == 0).all() for array in update.arrays.values())
    assert np.array_equal(after["person"], private["person"])


def test_a_device_without_plays_adds_nothing():
    nobody = Plays(np.empty(0, np.int32), np.empty(0, np.float32))
    for module in (Bilinear, Recurrent):
        model = taste(module)
        after, update = model.train(model.init(CATALOGUE, 1), beginning(model), nobody, 3)
        assert all((array == 0).all() for array in update.arrays.values())
        assert np.array_equal(as_row(after, model.private_shapes()), as_row(beginning(model), model.private_shapes()))


def test_private_parameters_are_fitted_with_the_shared_ones_as_they_are():
    model = taste(Bilinear, lr=0.5)
    shared, plays = model.init(CATALOGUE, 1), PEOPLE.plays(0)
    before, fitted = beginning(model), model.personalise(shared, plays)
    assert np.array_equal(model.personalise(shared, plays)["person"], fitted["person"])

    def gap(private):
        scores = model.scores(shared, private, plays)
        return scores[plays.items].mean() - np.delete(scores, plays.items).mean()

    assert gap(fitted) > gap(before) + 0.1
    recent = model.model_copy(update={"recency": 1.0}).personalise(shared, plays)
    assert np.abs(recent["person"] - fitted["person"]).max() > 1e-3


@EVERY
def test_scores_are_the_modules_logits_of_all_items(module):
    model = taste(module)
    shared, private, plays = model.init(CATALOGUE, 3), beginning(model), PEOPLE.plays(2)
    scores = model.scores(shared, private, plays)
    assert scores.shape == (len(CATALOGUE),)
    whole = module(len(CATALOGUE))
    arrays = {**shared.arrays, **private.arrays}
    with torch.no_grad():
        for name, value in whole.named_parameters():
            value.copy_(torch.tensor(arrays[name.replace(".", "/")]))
        if module is Bilinear:
            wanted = whole(torch.arange(len(CATALOGUE)))
        else:
            order = plays.items[np.argsort(plays.last_played, kind="stable")][-module.length :].astype(np.int64)
            history = np.append(order, np.full(module.length - len(order), order[-1]))
            every = torch.arange(len(CATALOGUE)).expand(module.length, -1)
            wanted = whole(torch.from_numpy(history), every)[len(order) - 1]
    np.testing.assert_allclose(scores, wanted.numpy(), atol=1e-6)


def test_fedncf_shares_items_and_perceptron_and_keeps_the_person():
    model = create("fedncf", {"dim": 4, "width": 6})
    assert model.private_shapes() == {"person": (4,)}
    assert model.shared_shapes(30)["item/weight"] == (30, 4)
    assert model.shared_shapes(30)["layers/0/weight"] == (6, 8)


def test_fedncf_begins_as_a_factorisation():
    model = create("fedncf", {"dim": 4, "width": 6})
    shared = model.init(CATALOGUE, 1)
    person = np.array([0.3, -0.1, 0.2, 0.5])
    scores = model.scores(shared, Private({"person": person}), Plays(np.array([3]), np.ones(1)))
    np.testing.assert_allclose(scores, 16.0 * shared["item/weight"] @ person, rtol=1e-4, atol=1e-6)


def test_torch_is_imported_where_a_module_computes_and_nowhere_else():
    program = """
import sys
import fedpersona, fedpersona.cli.main, fedpersona.simulation
from fedpersona.taste import MODELS, create
from fedpersona.simulation import RunConfig, simulate
model = create("fedncf", {"dim": 3})
assert {"dim", "width", "lr"} <= set(model.model_dump())
simulate(RunConfig(dataset="synthetic", people=30, items=20, model="popularity"))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_without_torch_a_neural_model_says_which_extra_to_install(monkeypatch):
    for name in [name for name in sys.modules if name == "torch" or name.startswith("fedpersona.taste.neural.")]:
        if not name.endswith((".model", ".fedncf", ".steps")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    model = MODELS["fedncf"]()
    with pytest.raises(ConfigError, match=r"fedpersona\[torch\]"):
        model.init(CATALOGUE, 1)
