import json
import os

import pytest
from typer.testing import CliRunner

from fedpersona.aggregation.certificates import new_signing_key, signing_key
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.spending import check_budget, held_budget
from fedpersona.cli.main import app
from fedpersona.errors import BudgetDamaged, ConfigError, ServerRunning
from tests.aggregation.budgets import plan
from tests.serving import free_ports


def run(*words):
    return CliRunner().invoke(app, list(words), standalone_mode=False)


def well(*words):
    result = run(*words)
    assert result.exception is None, result.exception
    return result.stdout


def refused(kind, *words) -> str:
    result = run(*words)
    assert isinstance(result.exception, kind), result.exception
    return str(result.exception)


@pytest.fixture
def made(tmp_path):
    """A server with a budget, of which one sum was paid."""
    file = tmp_path / "server" / "server.toml"
    well("serve", "init", str(file.parent), "--name", "Jazz", "--epsilon", "8", "--delta", "1e-5")
    config = ServerConfig.load(file)
    with (
        Database(config.database) as database,
        held_budget(config, database, signing_key(config.server.signing_key)) as budget,
    ):
        budget.spend(plan(7), 1)
    return file


def test_init_writes_the_budget_that_was_asked_for(made, tmp_path):
    privacy = ServerConfig.load(made).privacy
    assert (privacy.epsilon, privacy.delta) == (8.0, 1e-5)
    well("serve", "init", str(tmp_path / "other"))
    assert ServerConfig.load(tmp_path / "other" / "server.toml").privacy is None
    assert "'privacy.epsilon'" in refused(ConfigError, "serve", "init", str(tmp_path / "bad"), "--epsilon", "-1")
    assert "--delta goes with --epsilon" in refused(
        ConfigError, "serve", "init", str(tmp_path / "bad"), "--delta", "1e-5"
    )
    assert not (tmp_path / "bad").exists()


def test_show_tells_what_was_spent_on_what(made):
    found = json.loads(well("server", "budget", "show", "--json", "--config", str(made)))
    assert (found["limit"], found["delta"], found["releases"]) == (8.0, 1e-5, 1)
    assert [one["kind"] for one in found["entries"]] == ["opened", "spent"]
    assert found["entries"][1]["serial"] == 7
    assert 0.72 < found["spent"] < 0.73
    told = well("server", "budget", "show", "--config", str(made))
    assert "epsilon 8 at delta 1e-05" in told
    words = " ".join(told.split())
    assert "2 entries, all signed and in order" in words
    assert f"Spent epsilon {found['spent']:g}, for 1 sum " in words
    assert words.endswith(f" {found['spent']:g}")  # in the table as above it: neither is rounded down
    status = json.loads(well("server", "status", "--json", "--config", str(made)))
    assert status["budget"] == {"spent": found["spent"], "limit": 8.0, "delta": 1e-5}
    assert f"epsilon {found['spent']:g} of 8 spent" in well("server", "status", "--config", str(made))


def test_show_says_where_there_is_nothing_to_show(tmp_path):
    file = tmp_path / "plain" / "server.toml"
    well("serve", "init", str(file.parent))
    assert "no noise is added, and no budget is kept" in well("server", "budget", "show", "--config", str(file))
    assert json.loads(well("server", "budget", "show", "--json", "--config", str(file))) is None
    assert "no budget to change" in refused(
        ConfigError, "server", "budget", "raise", "--epsilon", "9", "--reason", "x", "--yes", "--config", str(file)
    )
    file = tmp_path / "new" / "server.toml"
    well("serve", "init", str(file.parent), "--epsilon", "2")
    assert "opened when the server first starts" in well("server", "budget", "show", "--config", str(file))


def change(made, verb: str, epsilon: str, *more: str):
    return (
        "server",
        "budget",
        verb,
        "--epsilon",
        epsilon,
        "--reason",
        "more people joined",
        "--config",
        str(made),
        *more,
    )


def test_a_raise_is_signed_logged_and_lifts_what_was_spent(made):
    config = ServerConfig.load(made)
    with Database(config.database) as database:
        Journal(database).say("spent", "the privacy budget is spent")
        told = json.loads(well(*change(made, "raise", "12", "--yes", "--json")))
        assert told == {"before": 8.0, "limit": 12.0}
        (event,) = [one for one in Journal(database).events() if one.kind == "budget"]
        assert event.words == "limit changed from 8 to 12: more people joined"
        assert Journal(database).state().state == "idle"
        check_budget(config, database, signing_key(config.server.signing_key))  # server.toml still says 8
    found = json.loads(well("server", "budget", "show", "--json", "--config", str(made)))
    assert (found["limit"], found["releases"]) == (12.0, 1)
    assert found["changes"][0]["reason"] == "more people joined"


def test_a_server_that_asks_for_more_than_the_limit_names_the_command_and_that_helps(made):
    front, ops, superlink = free_ports(3)  # the usual ones may be taken by another server of this machine
    text = made.read_text().replace("epsilon = 8.0\ndelta", "epsilon = 12.0\ndelta")
    for usual, free in (("8443", front), ("9100", ops), ("9092", superlink)):
        text = text.replace(usual, str(free))
    made.write_text(text)
    words = refused(ConfigError, "serve", "--config", str(made))
    assert "fedpersona server budget raise --epsilon 12 --reason" in words
    well(*change(made, "raise", "12", "--yes"))
    config = ServerConfig.load(made)
    with Database(config.database) as database:
        check_budget(config, database, signing_key(config.server.signing_key))


def test_lowering_warns_of_what_server_toml_asks_for(made):
    result = run(*change(made, "lower", "0.5", "--yes"))
    assert result.exception is None
    assert "server.toml asks for 8: write 0.5 there" in result.stderr
    assert json.loads(well("server", "budget", "show", "--json", "--config", str(made)))["state"] == "spent"


@pytest.mark.parametrize(
    ("verb", "epsilon", "words"),
    [
        ("raise", "8", "would not raise it"),
        ("raise", "4", "'budget lower' lowers it"),
        ("raise", "nan", "would not raise it"),
        ("raise", "inf", "a limit is"),
        ("raise", "1e308", "1000 at most"),
        ("lower", "9", "would not lower it"),
        ("lower", "0", "a limit is"),
        ("lower", "-1", "a limit is"),
    ],
)
def test_a_limit_that_is_none_or_the_other_way_is_refused(made, verb, epsilon, words):
    before = ServerConfig.load(made).budget.read_bytes()
    assert words in refused(ConfigError, *change(made, verb, epsilon, "--yes"))
    assert ServerConfig.load(made).budget.read_bytes() == before


def test_nothing_is_changed_unasked(made):
    before = ServerConfig.load(made).budget.read_bytes()
    assert "say --yes" in refused(ConfigError, *change(made, "raise", "12"))
    assert ServerConfig.load(made).budget.read_bytes() == before


def test_a_limit_is_not_changed_by_another_key_nor_while_a_training_holds_the_account(made, monkeypatch):
    config = ServerConfig.load(made)
    monkeypatch.setattr("fedpersona.aggregation.spending._WAIT", 0.1)
    key = signing_key(config.server.signing_key)
    with Database(config.database) as database, held_budget(config, database, key):
        assert "let its training end" in refused(ServerRunning, *change(made, "raise", "12", "--yes"))
    config.server.signing_key.write_bytes(new_signing_key())
    os.utime(config.budget)
    assert "another key" in refused(BudgetDamaged, *change(made, "raise", "12", "--yes"))
