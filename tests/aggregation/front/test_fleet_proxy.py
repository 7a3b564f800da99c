"""Devices reach nine paths of the SuperLink, with an enrolled key, and nothing else of it."""

from __future__ import annotations

import gzip
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fedpersona.aggregation.front.fleet_proxy import FLEET_PATHS
from tests.aggregation.front.fronts import PULL, Device, fronting, new_server, stand_in, until


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return new_server(tmp_path_factory.mktemp("front"), largest_body=300_000)


@pytest.fixture(scope="module")
def front(config):
    with fronting(config) as running:
        yield running


@pytest.fixture(scope="module")
def standing(config):
    with stand_in(config) as answers:
        yield answers


@pytest.fixture
def superlink(standing):
    standing.seen.clear()
    standing.answer = "echo"
    return standing


@pytest.fixture(scope="module")
def device(front):
    return front.enrol()


@pytest.mark.parametrize("path", sorted(FLEET_PATHS))
def test_each_of_the_nine_paths_is_passed_on_with_its_body(front, superlink, device, path):
    answer = front.pull(device, b"some bytes", path)
    assert (answer.status_code, answer.content) == (200, b"setyb emos")
    assert superlink.seen[0][0] == path
    assert superlink.seen[0][2] == b"some bytes"


@pytest.mark.parametrize(
    "path",
    [
        *("register-node", "unregister-node", "get-fab", "", "pull-messages/", "PULL-MESSAGES", "pull-messages?a=b"),
        *("../control/list-nodes", "..%2fcontrol/list-nodes", "./pull-messages", "/pull-messages", "pull-messages/.."),
        *("pull%2dmessages", "pull-messages%00", "pull-messages\\", "pull-messages;x", "pull-messages/../get-fab"),
    ],
)
def test_another_path_is_not_found_however_it_is_written(front, superlink, device, path):
    head = "".join(f"{name}: {value}\r\n" for name, value in device.headers.items())
    request = f"POST /v1/fleet/{path} HTTP/1.1\r\nhost: a\r\n{head}content-length: 0\r\nconnection: close\r\n\r\n"
    assert front.say(request.encode()).startswith(b"HTTP/1.1 404 ")
    assert superlink.seen == []


@pytest.mark.parametrize(
    "path", ["/v1/control/list-nodes", "/v1/runtime/get-nodes", "/docs", "/openapi.json", "/metrics"]
)
def test_the_other_doors_of_the_superlink_and_of_ops_are_not_there(front, superlink, device, path):
    assert front.pull(device, b"", path).status_code == 404
    assert front.http.get(path).status_code == 404
    assert superlink.seen == []


@pytest.mark.parametrize("target", ["https://127.0.0.1{0}", "http://example.org{0}", "*"])
def test_a_target_that_names_another_host_is_not_found(front, superlink, device, target):
    request = f"POST {target.format(PULL)} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    assert front.say(request.encode())[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400")
    assert superlink.seen == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_only_post_is_answered(front, superlink, device, method):
    assert front.http.request(method, PULL, headers=device.headers).status_code == 405
    assert superlink.seen == []


def test_only_known_headers_pass_in_both_directions(front, superlink, device):
    sent = {"x-forwarded-for": "1.2.3.4", "cookie": "a=b", "authorization": "Bearer x", "te": "trailers"}
    sent |= {"flwr-task-token": "t", "flwr-superexec-signature": "s", "x-flwr-client": "c", "flwr-timestamp": "now"}
    answer = front.http.post(PULL, content=b"x", headers=device.headers | sent)
    passed = superlink.seen[0][1]
    assert not {"cookie", "authorization", "x-forwarded-for", "flwr-task-token", "te", "user-agent"} & set(passed)
    assert not {"flwr-superexec-signature", "x-flwr-client", "accept-encoding"} & set(passed)
    assert passed["flwr-timestamp"] == "now"
    assert passed["flwr-signature"] == "c2ln"
    assert passed["content-type"] == "application/x-protobuf"
    assert "set-cookie" not in answer.headers
    assert "server" not in answer.headers
    assert answer.headers["flwr-version-incompatibility-message"] == "old"


def test_two_keys_in_one_request_are_refused(front, superlink, device):
    headers = [*device.headers.items(), *Device().headers.items()]
    assert front.http.post(PULL, content=b"x", headers=headers).status_code == 400
    assert superlink.seen == []


@pytest.mark.parametrize("key", [None, "", "????", "A" * 100_00, "YWJj"])
def test_what_is_no_key_of_a_device_is_refused(front, superlink, device, key):
    headers = {name: value for name, value in device.headers.items() if name != "flwr-public-key"}
    if key is not None:
        headers["flwr-public-key"] = key
    answer = front.http.post(PULL, content=b"x", headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"error": "unknown device"})
    assert superlink.seen == []


def test_a_device_that_never_enrolled_is_refused(front, superlink):
    answer = front.pull(Device())
    assert (answer.status_code, answer.json()) == (403, {"error": "unknown device"})


def test_a_revocation_by_another_process_acts_within_half_a_second(front, superlink):
    device = front.enrol()
    assert front.pull(device).status_code == 200
    front.roster.revoke(front.roster.by_flower_key(device.flower_key).number)
    begun = time.monotonic()
    until(lambda: front.pull(device).status_code == 403)
    assert time.monotonic() - begun < 0.5
    assert front.pull(device).json() == {"error": "revoked"}
    assert front.counted("fedpersona_front_refused_total", reason="revoked device") >= 1


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(front, superlink, device):
    answer = front.pull(device, b"x" * 300_001)
    assert answer.status_code == 413
    assert "300000 bytes" in answer.json()["error"]
    assert superlink.seen == []


def test_a_body_that_does_not_say_its_size_is_cut_off_at_the_limit(front, superlink, device):
    answer = front.http.post(PULL, content=(b"x" * 50_000 for _ in range(7)), headers=device.headers)
    assert answer.status_code == 413
    assert superlink.seen == []


def test_a_large_body_of_unknown_size_passes(front, superlink, device):
    answer = front.http.post(PULL, content=(b"x" * 50_000 for _ in range(6)), headers=device.headers)
    assert (answer.status_code, len(answer.content)) == (200, 300_000)


def test_a_long_answer_comes_whole_without_headers_of_its_own(front, superlink, device):
    superlink.answer = "pieces"
    answer = front.pull(device)
    assert answer.content == b"a" * 70_000 + b"b" * 70_000
    assert "x-secret" not in answer.headers


def test_a_redirect_of_the_superlink_is_not_followed(front, superlink, device):
    superlink.answer = "elsewhere"
    answer = front.pull(device)
    assert answer.status_code == 502
    assert "location" not in answer.headers


def test_a_compressed_body_is_passed_on_as_it_is_and_unpacked_by_nobody(front, superlink, device):
    bomb = gzip.compress(bytes(64 << 20))
    answer = front.http.post(PULL, content=bomb, headers={**device.headers, "content-encoding": "gzip"})
    assert answer.status_code == 200
    ((_, headers, body),) = superlink.seen
    assert body == bomb
    assert "content-encoding" not in headers
    enrolling = front.http.post("/v1/enrol", content=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    assert enrolling.status_code == 403


def test_a_body_that_breaks_off_leaves_the_front_as_it_was(front, superlink, device):
    head = "".join(f"{name}: {value}\r\n" for name, value in device.headers.items())
    request = f"POST {PULL} HTTP/1.1\r\nhost: a\r\n{head}content-length: 1000\r\n\r\nhalf"
    front.raw(request.encode()).close()
    assert front.pull(device).status_code == 200


def test_no_key_and_no_address_is_in_the_log(front, superlink, device):
    front.pull(device)
    front.pull(Device())
    text = "".join(path.read_text() for path in front.config.logs.iterdir())
    assert device.headers["flwr-public-key"][40:80] not in text
    assert "client" not in text


def test_a_superlink_that_is_down_is_a_503_with_a_time_to_come_again(tmp_path):
    with fronting(new_server(tmp_path)) as front:
        device = front.enrol()
        answer = front.pull(device)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        with stand_in(front.config):
            assert front.pull(device).status_code == 200


def test_a_superlink_that_fails_is_a_503_with_a_time_to_come_again_and_its_words_stay_inside(tmp_path):
    """Its database can be locked for longer than it waits: a device that asks again loses no round by that."""
    with fronting(new_server(tmp_path)) as front, stand_in(front.config) as answers:
        device = front.enrol()
        answers.answer = "fails"
        answer = front.pull(device)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)
        assert "locked" not in answer.text
        answers.answer = "echo"
        assert front.pull(device).status_code == 200
        assert len(answers.seen) == 2
        assert front.counted("fedpersona_front_refused_total", reason="superlink busy") == 1


def test_so_many_at_a_time_ask_the_superlink_and_the_others_wait_in_line(tmp_path):
    with fronting(new_server(tmp_path)) as front, stand_in(front.config) as answers:
        device = front.enrol()
        answers.answer = "slow"
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda _: front.pull(device).status_code, range(40)))
        assert found == [200] * 40
        assert 2 <= answers.most <= 16


def test_a_superlink_of_another_authority_is_not_spoken_to(tmp_path):
    ours, theirs = new_server(tmp_path / "a"), new_server(tmp_path / "b")
    port = {"superlink_port": ours.server.superlink_port}
    theirs = theirs.model_copy(update={"server": theirs.server.model_copy(update=port)})
    with fronting(ours) as front, stand_in(theirs) as answers:
        assert front.pull(front.enrol()).status_code == 503
        assert answers.seen == []
