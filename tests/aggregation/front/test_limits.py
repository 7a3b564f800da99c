"""Whoever sends much, slowly, nothing, or too often, takes the server from nobody."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

import pytest

from fedpersona.aggregation.front.limits import Attempts
from tests.aggregation.front.fronts import PULL, Device, fronting, new_server, stand_in, until


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    config = new_server(tmp_path_factory.mktemp("front"), slow_seconds=0.6, connections=100, enrolments_a_minute=15)
    with fronting(config) as running:
        yield running


def ended(connection: socket.socket, seconds: float) -> bool:
    """Tell whether the other side ends a connection in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_a_connection_that_says_nothing_is_ended(front):
    with front.raw() as silent:
        assert ended(silent, 3.0)


def test_a_connection_that_never_agrees_on_tls_is_ended(front):
    endpoint = front.config.server.listen_at
    with socket.create_connection((endpoint.host, endpoint.port)) as silent:
        assert ended(silent, 3.0)


def test_a_head_that_comes_letter_by_letter_is_ended(front):
    begun = time.monotonic()
    with front.raw(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ") as slow, contextlib.suppress(OSError):
        while time.monotonic() - begun < 5:
            slow.sendall(b"a")
            time.sleep(0.05)
    assert time.monotonic() - begun < 3.0


def test_the_second_request_of_a_connection_has_no_more_time_than_the_first(front):
    with front.raw(b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n") as slow:
        assert not ended(slow, 0.2)
        slow.sendall(b"GET / HTT")
        assert ended(slow, 3.0)


def test_a_connection_that_was_answered_may_rest(front):
    request = b"GET /v1/status HTTP/1.1\r\nhost: a\r\n\r\n"
    with front.raw(request) as resting:
        assert not ended(resting, 1.2)
        resting.sendall(request.replace(b"host", b"connection: close\r\nhost"))
        assert resting.recv(65_536).startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_arrive_in_time_is_refused(front):
    with stand_in(front.config) as superlink:
        device = front.roster.issue_token(1)  # any enrolled key will do
        asked = Device()
        front.roster.enrol(device, asked.flower_key, asked.signing_key)
        until(lambda: front.pull(asked).status_code == 200)
        superlink.seen.clear()
        head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
        request = f"POST {PULL} HTTP/1.1\r\nhost: a\r\n{head}content-length: 10\r\n\r\nabc"
        assert front.say(request.encode()).startswith(b"HTTP/1.1 408 ")
        assert superlink.seen == []


def test_a_head_without_an_end_is_refused_by_its_size(front):
    with front.raw() as endless, contextlib.suppress(OSError):
        for _ in range(200):
            endless.sendall(b"x" * 1000)
        assert endless.recv(100).startswith(b"HTTP/1.1 400")


def test_what_is_no_http_is_refused(front):
    assert front.say(b"\x16\x03\x01 nonsense\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"")


def test_plain_http_is_refused_by_tls(front):
    endpoint = front.config.server.listen_at
    with socket.create_connection((endpoint.host, endpoint.port), timeout=3) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_http_2_is_not_agreed(front):
    context = ssl.create_default_context(cafile=front.config.server.authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    endpoint = front.config.server.listen_at
    with (
        socket.create_connection((endpoint.host, endpoint.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as agreed,
    ):
        assert agreed.selected_alpn_protocol() == "http/1.1"
        assert agreed.version() == "TLSv1.3"


def test_a_body_where_none_belongs_is_refused(front):
    assert front.http.request("GET", "/v1/status", content=b"x").status_code == 413


def test_silent_connections_make_room_for_those_who_speak(tmp_path):
    with fronting(new_server(tmp_path, slow_seconds=60.0, connections=20)) as front, contextlib.ExitStack() as stack:
        for _ in range(30):
            with contextlib.suppress(OSError):
                stack.enter_context(front.raw())
        assert front.http.get("/v1/status").status_code == 200
        until(lambda: front.counted("fedpersona_front_refused_total", reason="silent, room needed") > 0)


def test_where_all_connections_are_in_use_a_new_one_is_ended_and_the_others_go_on(tmp_path):
    held = b"GET /v1/bell?after=0&seconds=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    with fronting(new_server(tmp_path, connections=3)) as front, contextlib.ExitStack() as stack:
        holding = [stack.enter_context(front.raw(held)) for _ in range(3)]
        until(lambda: front.counted("fedpersona_front_held") == 3)
        with contextlib.suppress(OSError):
            assert ended(stack.enter_context(front.raw()), 1.0)
        assert all(connection.recv(100).startswith(b"HTTP/1.1 200") for connection in holding)


def test_five_hundred_silent_connections_stop_nothing(tmp_path):
    with fronting(new_server(tmp_path, slow_seconds=30.0)) as front, contextlib.ExitStack() as stack:
        endpoint = front.config.server.listen_at
        for number in range(500):
            plain = stack.enter_context(socket.create_connection((endpoint.host, endpoint.port)))
            if number % 5 == 0:  # some half-way into TLS
                plain.sendall(b"\x16\x03\x01\x02")
        begun = time.monotonic()
        assert front.http.get("/v1/status").status_code == 200
        assert time.monotonic() - begun < 5.0


def test_tokens_cannot_be_guessed_in_a_hurry(tmp_path):
    with fronting(new_server(tmp_path, enrolments_a_minute=3)) as front:
        answers = [front.ask_in(Device(), "x" * 32) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [403, 403, 403, 429, 429]
        assert answers[-1].headers["retry-after"] == "60"


def test_many_who_enrol_at_once_from_one_address_are_not_taken_for_one_who_guesses():
    attempts = Attempts(in_all=100, each=3, clock=lambda: 0.0)
    assert all(attempts.allowed("a") for _ in range(50))


def test_one_address_cannot_use_up_the_tries_of_all():
    attempts = Attempts(in_all=100, each=3, clock=lambda: 0.0)
    for _ in range(3):
        assert attempts.allowed("a")
        attempts.failed("a")
    assert not attempts.allowed("a")
    assert attempts.allowed("b")


def test_tries_are_forgotten_after_a_minute():
    now = [0.0]
    attempts = Attempts(in_all=2, each=2, clock=lambda: now[0])
    assert [attempts.allowed("a") for _ in range(3)] == [True, True, False]
    attempts.failed("a")
    attempts.failed("a")
    now[0] = 61.0
    assert attempts.allowed("a")


def test_whoever_has_an_invitation_is_shut_out_by_nobodys_guessing(tmp_path):
    with fronting(new_server(tmp_path, enrolments_a_minute=2)) as front:
        for _ in range(4):
            front.ask_in(Device(), "x" * 32)
        for _ in range(20):  # too long: never read as a request, counts against nobody
            front.http.post("/v1/enrol", content=b"x" * 9000)
        assert front.ask_in(Device(), "x" * 32).status_code == 429
        assert front.enrol() is not None


def test_addresses_without_end_take_no_memory_without_end():
    attempts = Attempts(in_all=1, each=1, clock=lambda: 0.0)
    for number in range(10_500):
        attempts.failed(str(number))
    assert len(attempts._failed) == 10_000


def test_an_answer_that_nobody_takes_is_given_up(tmp_path):
    with fronting(new_server(tmp_path, slow_seconds=0.5)) as front:
        front.config.model.catalogue.write_bytes(b'{"version":"large"}\n' + bytes(20 << 20))
        before = front.counted("fedpersona_front_connections")
        with front.raw(b"GET /v1/catalogue HTTP/1.1\r\nhost: a\r\n\r\n"):
            until(lambda: front.counted("fedpersona_front_refused_total", reason="answer not taken") >= 1)
            until(lambda: front.counted("fedpersona_front_connections") <= before)
        assert front.http.get("/v1/status").status_code == 200
