"""What a budget says to people: on the public page, on the operator's, in metrics; none of it better than it is."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from markupsafe import escape
from starlette.applications import Starlette
from starlette.routing import Route

from fedpersona.aggregation.budget_words import budget_facts, public_facts, rounded_up, seen_balance
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front.transparency import transparency_json, transparency_page
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.ops.app import ops_app
from fedpersona.aggregation.ops.health import look
from fedpersona.aggregation.ops.metrics import journal_metrics
from fedpersona.aggregation.trainings import Trainings
from fedpersona.privacy.gaussian import gaussian_mu
from fedpersona.privacy.wording import sentence
from tests.aggregation.budgets import KEY, Kept
from tests.aggregation.ops.asking import Asking
from tests.aggregation.ops.invented import configured, fill

PRIVACY = {"epsilon": 8.0, "delta": 1e-5}


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(tmp_path)


def server(kept: Kept, **sections):
    """Return the configuration of a server whose folder is that of a budget."""
    key = kept.folder / "operator-key.pem"
    key.write_bytes(
        KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    sections = {"privacy": PRIVACY, **sections}
    return configured(kept.folder, server={"signing_key": key}, **sections)


def page_and_facts(config, database):
    app = Starlette(routes=[Route("/", transparency_page), Route("/v1/transparency", transparency_json)])
    app.state.server = SimpleNamespace(config=config, database=database)
    client = Asking(app, "https://taste.harbour.example")
    page = re.sub(r"<style>.*?</style>", "", client.get("/").text, flags=re.DOTALL)
    return page, client.get("/v1/transparency").json()


def told(found) -> list[str]:
    if isinstance(found, dict):
        return [text for value in found.values() for text in told(value)]
    if isinstance(found, list):
        return [text for value in found for text in told(value)]
    return [found] if isinstance(found, str) and " " in found else []


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_the_public_page_tells_limit_spent_left_changes_and_who_adds_the_noise(kept, noise):
    kept.spend(1, 2, multiplier=4.0)
    with kept.open() as budget:
        budget.set_limit(12.0, "more <people> joined")
        budget.set_limit(9.0, "it was too much")
    config = server(kept, privacy={**PRIVACY, "noise": noise})
    with Database(config.database) as database:
        fill(config, database)
        page, facts = page_and_facts(config, database)
    found = facts["rules"]["differential_privacy"]
    balance = kept.read()
    assert (found["limit"], found["delta"], found["releases"], found["unit"]) == (9.0, 1e-5, 2, "person")
    assert balance.epsilon <= found["spent"] < balance.epsilon + 1e-3
    assert balance.left - 1e-3 < found["left"] <= balance.left
    assert [one["in_words"] for one in found["changes"]] == [
        "Raised from 8 to 12. The reason given: more <people> joined.",
        "Lowered from 12 to 9. The reason given: it was too much.",
    ]
    for text in told(facts):
        if not text.startswith("fedpersona transparency"):
            assert str(escape(text)).rstrip(".") in page, text
    assert "No noise is added" not in page
    assert "no differential privacy" not in page
    assert ("every sum that the server opens" in page) == (noise == "distributed")
    assert ("which sees a sum before it adds the noise" in page) == (noise == "central")
    assert facts["rules"]["longest_update"] == 1.0


def test_the_words_are_those_of_the_promise_and_no_better(kept):
    kept.spend(1, multiplier=1.0)
    balance, config = kept.read(), server(kept)
    found = budget_facts(balance, config.privacy)
    assert sentence(8.0, 1e-5, gaussian_mu(8.0, 1e-5)) in found["in_words"]
    assert sentence(balance.epsilon, 1e-5, math.sqrt(balance.square)) in found["spent_in_words"]


@pytest.mark.parametrize("instead", [None, "folder"])
def test_an_account_that_is_damaged_or_not_open_yet_is_told_of_as_such_and_the_page_is_there(kept, instead):
    config = server(kept)
    with Database(config.database) as database:
        page, facts = page_and_facts(config, database)
        assert facts["rules"]["differential_privacy"]["state"] == "unopened"
        assert "is opened when the server first starts" in page
        kept.spend(1)
        kept.file.unlink()
        if instead:
            kept.file.mkdir()
        page, facts = page_and_facts(config, database)
        assert facts["rules"]["differential_privacy"]["state"] == "damaged"
        assert "cannot be read as it was written" in page
        assert str(kept.file) not in page
        (finding,) = [one for one in look(config, database) if one.name == "budget"]
        assert not finding.well
        assert ("cannot be read" if instead else "is missing") in finding.words
        told = {
            (sample.name, *sample.labels.values()): sample.value
            for family in journal_metrics(database, config).collect()
            for sample in family.samples
        }
        assert math.isnan(told["fedpersona_privacy_epsilon", "spent"])


def test_a_server_without_a_budget_says_nothing_of_one(kept):
    config = configured(kept.folder)
    with Database(config.database) as database:
        assert public_facts(config, database) is None
        page, _ = page_and_facts(config, database)
        assert "privacy budget" not in page
        assert [one.name for one in look(config, database)] == ["state", "superlink", "disk"]


def test_sums_from_before_the_account_are_told_of(kept):
    from fedpersona.aggregation.budget_entries import Opened

    kept.first = lambda: Opened("Test people", 8.0, 1e-5, 3)
    kept.spend(1)
    found = budget_facts(kept.read(), server(kept).privacy)
    assert (
        "3 sums had been released without noise; the account does not cover what they told" in found["spent_in_words"]
    )


def test_a_spent_budget_says_that_nothing_is_left(kept):
    kept.spend(1)
    assert budget_facts(kept.read(), server(kept).privacy)["state"] == "open"
    with kept.open() as budget:
        budget.set_limit(0.5, "enough")
    found = budget_facts(kept.read(), server(kept).privacy)
    assert (found["state"], found["left"]) == ("spent", 0.0)
    assert "Nothing that a training could begin with." in found["left_in_words"]


def test_the_operators_page_and_metrics_tell_spent_and_limit(kept):
    kept.spend(1, 2)
    config = server(kept)
    with Database(config.database) as database:
        Journal(database).say("spent", "the privacy budget is spent")
        client = Asking(ops_app(config, database), f"http://{config.server.ops}")
        page, metrics = client.get("/").text, client.get("/metrics").text
        balance = seen_balance(config, database)
    assert "epsilon spent, of 8</dt>" in page
    assert f"<dd>{rounded_up(balance.epsilon):g}</dd>" in page
    assert "The privacy budget is spent" in page
    assert f"Epsilon {rounded_up(balance.epsilon):g} of 8 is spent, at a delta of 1e-05." in page
    assert f'fedpersona_privacy_epsilon{{kind="spent"}} {balance.epsilon!r}' in metrics
    assert 'fedpersona_privacy_epsilon{kind="limit"} 8.0' in metrics
    assert "fedpersona_privacy_releases 2.0" in metrics
    assert "fedpersona_training_active 0.0" in metrics


def test_the_account_is_read_again_when_it_was_added_to_and_checked_each_time(kept):
    kept.spend(1)
    config = server(kept)
    with Database(config.database) as database:
        assert seen_balance(config, database).releases == 1
        kept.spend(2)
        assert seen_balance(config, database).releases == 2


@pytest.mark.parametrize("epsilon", [0.0, 1e-9, 0.1234, 7.9990001, 8.0])
def test_a_spend_is_never_told_as_less_than_it_is(epsilon):
    assert epsilon <= rounded_up(epsilon) < epsilon + 1e-3 + 1e-12


def test_the_public_page_shows_the_settings_of_the_training_and_never_a_noise_of_nothing(kept):
    config, settings = server(kept), {"noise": 2.5, "dim": 7}
    with Database.open(kept.folder / "state.db") as database:
        assert page_and_facts(config, database)[1]["rules"]["settings"]["noise"] is None
        training = Trainings(database, config.models).begin(config.model.name, settings, "c", 1)
        assert training.settings == settings
        assert page_and_facts(config, database)[1]["rules"]["settings"] == settings
