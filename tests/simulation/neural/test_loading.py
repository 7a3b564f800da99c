"""A module from a file: it becomes a model with its own settings, and whatever is wrong with it is one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fedpersona.errors import ConfigError, InputError, UnknownName
from fedpersona.simulation import RunConfig, simulate
from fedpersona.simulation.neural.loading import brought

BEGINNING = "import torch\nfrom torch import nn\n"
GOOD = '''
class Mine(nn.Module):
    """A product of vectors."""

    tables = ("item",)
    private = ("person",)
    defaults = {"lr": 0.25, "rounds": 3}

    def __init__(self, items, dim=4, scale=1.0):
        super().__init__()
        self.item = nn.Embedding(items, dim)
        self.person = nn.Parameter(torch.ones(dim) * scale)

    def forward(self, items):
        return self.item(items) @ self.person
'''


def written(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(BEGINNING + text)
    return f"torch:{folder / name}"


def test_arguments_of_the_constructor_are_settings_and_defaults_are_the_modules(tmp_path):
    model = brought(written(tmp_path, GOOD), {"dim": 7, "epochs": 2})
    assert (model.dim, model.scale, model.lr, model.rounds, model.epochs) == (7, 1.0, 0.25, 3, 2)
    assert model.private_shapes() == {"person": (7,)}
    assert (model.name, model.summary, model.remembers) == ("torch:Mine", "A product of vectors.", True)


def test_a_setting_out_of_range_or_unknown_is_refused_as_of_any_model(tmp_path):
    spec = written(tmp_path, GOOD)
    with pytest.raises(ConfigError, match="lr"):
        brought(spec, {"lr": -1.0})
    with pytest.raises(UnknownName, match=r"choose one of.*scale"):
        brought(spec, {"width": 3})


def test_another_process_reads_the_file_itself(tmp_path):
    model = brought(written(tmp_path, GOOD), {"dim": 3})
    again = pickle.loads(pickle.dumps(model))
    assert again.model_dump() == model.model_dump()
    assert type(again).spec.endswith("mine.py:Mine")


def test_a_file_with_several_modules_is_asked_for_by_class(tmp_path):
    spec = written(tmp_path, GOOD + GOOD.replace("Mine", "Other"))
    assert brought(f"{spec}:Other").name == "torch:Other"
    with pytest.raises(ConfigError, match="Mine, Other: say which"):
        brought(spec)
    with pytest.raises(ConfigError, match=r"no torch.nn.Module 'Third': Mine, Other"):
        brought(f"{spec}:Third")


def test_a_part_without_tables_is_not_taken_for_the_model(tmp_path):
    part = "\nclass Part(nn.Module):\n    pass\n"
    assert brought(written(tmp_path, part + GOOD)).name == "torch:Mine"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('tables = ("item",)', ""), "has no tables"),
        (('tables = ("item",)', 'tables = "item"'), "has no tables"),
        (('tables = ("item",)', 'tables = ("items",)'), "'items', which is no nn.Embedding"),
        (
            ('private = ("person",)', 'private = ("persom",)'),
            "'persom', which is no parameter of it: person, item.weight",
        ),
        (('private = ("person",)', 'private = "person"'), 'write private = \\("person",\\)'),
        (('private = ("person",)', 'private = ("item",)'), "in 'tables' and in 'private'"),
        (('private = ("person",)', 'task = "words"'), "'pointwise' or 'sequence'"),
        (("nn.Embedding(items, dim)", "nn.Embedding(items + 1, dim)"), "has 12 rows for 11 items"),
        (("nn.Embedding(items, dim)", "nn.Embedding(items, dim, padding_idx=0)"), "only plain lookups"),
        (("torch.ones(dim) * scale", "torch.ones(items, dim)"), "'person' of Mine changes with the catalogue"),
        (("torch.ones(dim) * scale", "torch.ones(dim) / 0"), "loss .* before any training"),
        (("self.item(items) @", "self.item(items[1:]) @"), "other ids than forward was given"),
        (("self.item(items) @", "self.item.weight[items] @"), "the whole of table 'item'"),
        (("self.item(items) @ self.person", "self.item(items)"), "one logit for each is wanted"),
        (("self.item(items) @ self.person", "self.person[items % 2]"), "looked up with nothing"),
        (("self.item(items) @", "self.item(items) / None @"), "fails on 11 items: TypeError"),
        (("dim=4, scale", "dim, scale"), "needs a default"),
        (("dim=4", "lr=4, dim=4"), "is a setting of every model"),
        (('{"lr": 0.25', '{"rate": 0.25'), "names 'rate', which is no setting"),
        (("super().__init__()", "super().__init__(); self.drop = nn.Dropout(0.1)"), "has dropout"),
        (("super().__init__()", "super().__init__(); self.norm = nn.BatchNorm1d(4)"), "batch normalisation"),
        (("super().__init__()", "raise OSError('no')"), "Mine\\(11, ...\\) fails: OSError: no"),
        (("class Mine", "class = Mine"), "line 4: cannot be run"),
        (("class Mine", "1 / 0\nclass Mine"), "cannot be run \\(ZeroDivisionError"),
        (("nn.Module", "object"), "has no torch.nn.Module"),
    ],
)
def test_what_is_wrong_with_a_module_is_one_sentence(tmp_path, change, sentence):
    assert change[0] in GOOD
    with pytest.raises(ConfigError, match=sentence) as told:
        brought(written(tmp_path, GOOD.replace(*change)))
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        brought(f"torch:{tmp_path / 'none.py'}")


def test_a_sequence_module_that_looks_ahead_is_refused(tmp_path):
    ahead = """
class Ahead(nn.Module):
    tables, task, length = ("item",), "sequence", 4

    def __init__(self, items):
        super().__init__()
        self.item = nn.Embedding(items, 3)

    def forward(self, history, candidates):
        return (self.item(candidates) * self.item(history).mean(0)).sum(-1)
"""
    with pytest.raises(ConfigError, match="looks ahead"):
        brought(written(tmp_path, ahead))


def test_a_brought_module_is_simulated_with_the_report_of_every_model(tmp_path):
    spec = written(tmp_path, GOOD)
    config = RunConfig(dataset="synthetic", people=40, items=30, model=spec, settings={"batch": 16}, ceiling=False)
    first, again = simulate(config), simulate(config)
    assert first.record.model_hash == again.record.model_hash
    assert [figures.round_number for figures in first.record.rounds] == [1, 2, 3]
    assert first.shared.arrays["item/weight"].shape == (30, 4)
    assert first.record.settings["dim"] == 4


def test_a_loss_of_ones_own_is_taken(tmp_path):
    own = (
        GOOD
        + """
    def loss(self, items, labels, weights):
        return ((self(items) - labels).square() * weights).sum()
"""
    )
    model = brought(written(tmp_path, own))
    assert model.blueprint.looked_up == {"item/weight": (0,)}
    other = brought(written(tmp_path, GOOD, "other.py"))
    config = RunConfig(dataset="synthetic", people=20, items=15, model=type(model).spec, ceiling=False)
    plain = config.model_copy(update={"model": type(other).spec})
    assert simulate(config).record.model_hash != simulate(plain).record.model_hash


def test_errors_of_a_brought_module_can_be_mended_by_a_person():
    assert issubclass(ConfigError, InputError)
