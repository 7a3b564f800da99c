"""What anyone may fetch, and the bell that devices wait for."""

from __future__ import annotations

import hashlib
import threading
import time

import httpx
import numpy as np
import pytest

from fedpersona.aggregation.certificates import signing_key
from fedpersona.aggregation.trainings import Trainings
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import unpack
from fedpersona.wire.signed_catalogue import signer, unseal
from fedpersona.wire.signed_release import unseal_release
from tests.aggregation.front.fronts import fronting, new_server, until


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    with fronting(new_server(tmp_path_factory.mktemp("front"))) as running:
        yield running


@pytest.fixture
def fresh(tmp_path):
    with fronting(new_server(tmp_path)) as running:
        yield running


def public_key(front) -> bytes:
    return signer(front.config.model.catalogue.read_bytes())


def train(front):
    """Leave a checkpoint; return its training and model."""
    trainings = Trainings(front.database, front.config.models)
    training = trainings.begin("subspace", {}, "c" * 64, 1)
    shared = Shared("subspace", "c" * 64, 1, {"items": np.ones((2, 3), np.float32)})
    trainings.checkpoint(training, shared, 20)
    return training, shared


def test_the_status_says_what_a_device_needs_to_know(front):
    told = front.http.get("/v1/status").json()
    version = unseal(front.config.model.catalogue.read_bytes(), [public_key(front)]).catalogue.version
    assert told == {
        "federation": "Test people",
        "state": "idle",
        "busy": False,
        "bell": 0,
        "spread": 0.0,
        "come_back": 10.0,
        "release": None,
        "catalogue": version,
    }


def test_the_catalogue_is_the_sealed_file_and_is_not_sent_twice(front):
    answer = front.http.get("/v1/catalogue")
    assert answer.content == front.config.model.catalogue.read_bytes()
    again = front.http.get("/v1/catalogue", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_catalogue_that_the_operator_replaces_is_sent_from_then_on(fresh):
    fresh.http.get("/v1/catalogue")
    fresh.config.model.catalogue.write_bytes(b'{"version":"another"}\nx')
    assert fresh.http.get("/v1/catalogue").content.endswith(b"\nx")
    assert fresh.http.get("/v1/status").json()["catalogue"] == "another"


def test_there_is_no_release_before_a_model_was_promoted(front):
    answer = front.http.get("/v1/release")
    assert (answer.status_code, answer.json()) == (404, {"error": "no model was released yet"})


def test_a_promoted_model_is_there_at_once_under_the_operators_signature(fresh):
    training, shared = train(fresh)
    version = fresh.registry.register(shared, {}, {}, training)
    fresh.registry.promote(version, signing_key(fresh.config.server.signing_key), "Test people")
    until(lambda: fresh.http.get("/v1/status").json()["release"] == version)
    answer = fresh.http.get("/v1/release")
    note, packed = unseal_release(answer.content, public_key(fresh), "Test people")
    assert (note.version, unpack(packed)[0].hash()) == (version, shared.hash())
    again = fresh.http.get("/v1/release", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert fresh.http.head("/v1/release").headers["content-length"] == str(len(answer.content))


def test_a_checkpoint_is_fetched_by_its_hash_for_ever(fresh):
    _, shared = train(fresh)
    answer = fresh.http.get(f"/v1/models/{shared.hash()}")
    assert unpack(answer.content)[0].hash() == shared.hash()
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["a" * 64, "a" * 63, "A" * 64, "fedpersona.db", "%2e%2e%2ffedpersona.db", "", "é"])
def test_nothing_but_a_model_in_use_is_behind_models(front, name):
    assert front.http.get(f"/v1/models/{name}").status_code == 404


def test_the_page_for_people_and_the_same_for_programs_are_there(front):
    assert front.http.get("/").headers["content-type"].startswith("text/html")
    assert front.http.get("/v1/transparency").json()["federation"]["name"] == "Test people"


def test_the_bell_answers_at_once_where_it_has_rung_since(front):
    begun = time.monotonic()
    assert front.http.get("/v1/bell").json()["bell"] == 0
    assert front.http.get("/v1/bell?after=99").json()["bell"] == 0  # a state that was put back is older
    assert time.monotonic() - begun < 2.0


def test_the_bell_holds_as_long_as_it_is_told(front):
    begun = time.monotonic()
    told = front.http.get("/v1/bell?after=0&seconds=0.5").json()
    assert told["bell"] == 0
    assert 0.4 < time.monotonic() - begun < 2.0


@pytest.mark.parametrize("query", ["after=x", "after=-2", "after=1e3", f"after={2**53}", "seconds=nan", "seconds=inf",
                                   "after=" + "9" * 5000, "a=1&b=2&c=3"])  # fmt: skip
def test_the_bell_takes_whole_numbers_only(front, query):
    answer = front.http.get(f"/v1/bell?{query}")
    assert answer.status_code == 400


def test_a_ring_by_another_process_wakes_all_who_wait(fresh):
    heard: list[int] = []

    def wait() -> None:
        with httpx.Client(verify=fresh.tls, base_url=fresh.config.server.address, trust_env=False) as http:
            heard.append(http.get("/v1/bell?after=0", timeout=30).json()["bell"])

    threads = [threading.Thread(target=wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: fresh.counted("fedpersona_front_held") == 20)
    fresh.journal.say("gathering", "asking for devices")
    begun = time.monotonic()
    fresh.journal.ring()
    for thread in threads:
        thread.join(5)
    assert heard == [1] * 20
    assert time.monotonic() - begun < 1.5
    assert fresh.http.get("/v1/status").json()["busy"] is True


def test_the_state_of_the_journal_is_told(fresh):
    fresh.journal.say("training")
    until(lambda: fresh.http.get("/v1/status").json()["state"] == "training")
    told = fresh.http.get("/v1/bell").json()
    assert (told["busy"], told["come_back"]) == (True, 5.0)


def test_a_large_release_is_sent_whole(fresh):
    training, _ = train(fresh)
    shared = Shared(
        "subspace", "c" * 64, 2, {"items": np.random.default_rng(1).normal(size=(5000, 100)).astype(np.float32)}
    )
    version = fresh.registry.register(shared, {}, {}, training)
    fresh.registry.promote(version, signing_key(fresh.config.server.signing_key), "Test people")
    until(lambda: fresh.http.get("/v1/release").status_code == 200)
    sent = fresh.http.get("/v1/release").content
    assert hashlib.sha256(sent).hexdigest() == fresh.registry.release_tag()
