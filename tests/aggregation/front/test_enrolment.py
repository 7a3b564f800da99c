"""A device enrols with a token and two keys of its own; whatever does not fit is refused in a sentence."""

from __future__ import annotations

import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.aggregation.front.fronts import Device, fronting, new_server


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    config = new_server(tmp_path_factory.mktemp("front"), enrolments_a_minute=10_000)
    with fronting(config) as running:
        yield running


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    monkeypatch.setattr("fedpersona.aggregation.front.enrolment._PAUSE", 0.0)
    monkeypatch.setattr("fedpersona.aggregation.front.limits.Attempts.allowed", lambda *_: True)


def pem(key) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_a_device_is_enrolled_and_registered_with_flower(front):
    device, token = Device(), front.roster.issue_token(1)
    answer = front.ask_in(device, token)
    assert answer.status_code == 200
    enrolled = front.roster.by_flower_key(device.flower_key)
    node_id = front.control.nodes[device.flower_key]
    assert answer.json() == {"federation": "Test people", "device": enrolled.number, "node_id": node_id}
    assert (enrolled.node_id, enrolled.signing_key) == (node_id, device.signing_key)


def test_a_lost_answer_does_no_harm(front):
    device, token = Device(), front.roster.issue_token(1)
    first = front.ask_in(device, token)
    assert front.ask_in(device, token).json() == first.json()


def test_the_same_request_many_times_at_once_is_one_device(front):
    device, token, answers = Device(), front.roster.issue_token(1), []
    threads = [threading.Thread(target=lambda: answers.append(front.ask_in(device, token).json())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [answers[0]] * 6


def test_a_superlink_that_is_down_uses_no_token_up(front):
    device, token = Device(), front.roster.issue_token(1)
    front.control.down = True
    answer = front.ask_in(device, token)
    front.control.down = False
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert front.ask_in(device, token).status_code == 200


def test_a_token_serves_one_device(front):
    token = front.roster.issue_token(1)
    assert front.ask_in(Device(), token).status_code == 200
    answer = front.ask_in(Device(), token)
    assert answer.status_code == 403
    assert "another device has used" in answer.json()["error"]


def test_an_unknown_token_is_refused(front):
    answer = front.ask_in(Device(), "x" * 32)
    assert answer.status_code == 403
    assert "unknown" in answer.json()["error"]
    assert "x" * 32 not in answer.text


def test_a_revoked_device_does_not_come_back_with_its_token(front):
    device, token = Device(), front.roster.issue_token(1)
    front.roster.revoke(front.ask_in(device, token).json()["device"])
    assert front.ask_in(device, token).status_code == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"token": ""},
        {"token": "x" * 65},
        {"token": "é" * 32},
        {"token": None},
        {"flower_key": ""},
        {"flower_key": "é"},
        {"flower_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
        {"flower_key": pem(rsa.generate_private_key(65537, 2048).public_key())},
        {"flower_key": pem(ec.generate_private_key(ec.SECP521R1()).public_key())},
        {"flower_key": pem(ec.generate_private_key(ec.SECP256K1()).public_key())},
        {"flower_key": "x" * 2000},
        {"flower_key": 5},
        {"signing_key": "00" * 31},
        {"signing_key": "AB" * 32},
        {"signing_key": "zz" * 32},
        {"signing_key": "00" * 32},
        {"proof": "00" * 64},
        {"proof": ""},
        {"proof": ["00"]},
        {"more": "x"},
    ],
)
def test_what_does_not_fit_is_refused_and_uses_no_token_up(front, changed):
    device, token = Device(), front.roster.issue_token(1)
    answer = front.ask_in(device, token, **changed)
    assert answer.status_code == 403
    assert set(answer.json()) == {"error"}
    assert front.ask_in(device, token).status_code == 200


def test_a_key_that_was_swapped_after_the_proof_was_signed_is_refused(front):
    token = front.roster.issue_token(1)
    answer = front.ask_in(Device(), token, flower_key=Device().flower_key.decode())
    assert (answer.status_code, "proof" in answer.json()["error"]) == (403, True)


def test_a_proof_for_another_federation_is_refused(front):
    device, token = Device(), front.roster.issue_token(1)
    answer = front.http.post("/v1/enrol", json=device.request("Other people", token))
    assert answer.status_code == 403


def test_a_private_key_is_not_taken(front):
    from cryptography.hazmat.primitives.serialization import NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP384R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    answer = front.ask_in(Device(), front.roster.issue_token(1), flower_key=text)
    assert answer.status_code == 403
    assert text[40:80] not in answer.text


def test_a_key_on_p256_is_taken(front):
    device = Device()
    device.flower_key = pem(ec.generate_private_key(ec.SECP256R1()).public_key()).encode()
    assert front.ask_in(device, front.roster.issue_token(1)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 8000, b'"text"', b"1e999"])
def test_what_is_no_request_is_refused(front, body):
    assert front.http.post("/v1/enrol", content=body).status_code == 403


def test_a_long_request_is_refused_by_its_size(front):
    assert front.http.post("/v1/enrol", content=b" " * 8193).status_code == 413


def test_no_token_and_no_key_is_in_the_log(front):
    device, token = Device(), front.roster.issue_token(1)
    front.ask_in(device, token)
    front.ask_in(Device(), token)
    text = "".join(path.read_text() for path in front.config.logs.iterdir())
    assert token not in text
    assert device.signing_key.hex() not in text
