"""``fedpersona serve`` with a budget for one training: it stops by itself, says so, and no restart trains again."""

import json
import time

from fedpersona.aggregation.budget import read_balance
from fedpersona.aggregation.certificates import operator_public
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.trainings import Trainings
from tests.aggregation.light_devices import Crowd, enrolled, taking_part
from tests.serving import new_server, running

DEVICES = 5


def started(served) -> int:
    """Count the runs that the server began."""
    return sum(b'"run.started"' in line for line in (served.config.logs / "supervisor.jsonl").read_bytes().splitlines())


def test_a_server_whose_budget_is_spent_stops_training_by_itself_and_no_restart_begins_again(tmp_path):
    config = new_server(
        tmp_path / "server",
        model__name="popularity",
        rounds__cohort=DEVICES,
        rounds__min_count=DEVICES,
        rounds__wait_for=DEVICES,
        rounds__linger_seconds=1,
        schedule__kind="standing",
        schedule__every_days=1e-6,
        privacy__epsilon=1.0,
        privacy__training_epsilon=1.0,
        privacy__delta=1e-5,
        privacy__noise="distributed",
    )
    operator = operator_public(config.server.signing_key)
    with Database.open(config.database) as database:
        journal = Journal(database)
        with running(config) as served:
            before = served.ask("/v1/transparency").json()["rules"]["differential_privacy"]
            assert (before["state"], before["spent"], before["limit"]) == ("open", 0.0, 1.0)
            with taking_part(enrolled(config, DEVICES), Crowd()):
                served.until(lambda: journal.state().state == "spent", 60, "a budget that is spent")
                runs = started(served)
                time.sleep(3)  # a loop of runs would show
                assert started(served) == runs == 2  # one learned, one found nothing left
            told = served.ask("/v1/transparency").json()["rules"]["differential_privacy"]
            assert (told["state"], told["releases"], told["noise"]) == ("spent", 1, "distributed")
            assert 0.99 <= told["spent"] <= 1.0
            assert "Nothing that a training could begin with." in served.ask("/").text
            assert served.ask("/v1/status").json()["state"] == "spent"
            assert served.ask("/v1/release").status_code == 200  # the model is served on
            paid = config.budget.read_bytes()
        with running(config) as served:
            with taking_part(enrolled(config, DEVICES), Crowd()) as crowd:
                time.sleep(3)
            assert crowd.sent == []
            assert started(served) == runs
            assert journal.state().state == "spent"
        assert config.budget.read_bytes() == paid
        assert [one.outcome for one in Trainings(database, config.models).all()] == ["finished"]
        assert [one.outcome for one in journal.rounds()] == ["completed"]
        version = Registry(database, config.models).promoted()
        balance = read_balance(config.budget, database, operator)
    assert version.metrics["budget"]["head"] == balance.entries[-1].hash
    assert json.loads(balance.entries[-1].line)["noise"] == "distributed"
